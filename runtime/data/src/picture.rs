//! Pictures in PNG and JPEG files, as tensors of shape [channels, height, width] with values from 0 to 1.

use crate::channels::{apart, together};
use image::{DynamicImage, ExtendedColorType, ImageFormat, ImageReader, imageops::FilterType};
use std::io::{BufReader, Cursor};
use std::path::Path;
use tensor::{FileError, Tensor, open_data, write_whole};

/// PNG or JPEG, as the name of a file says.
fn format_named(path: &Path) -> Option<ImageFormat> {
    let format = ImageFormat::from_path(path).ok()?;
    matches!(format, ImageFormat::Png | ImageFormat::Jpeg).then_some(format)
}

/// Whether a name ends as those of pictures do.
pub fn is_named(path: &Path) -> bool {
    format_named(path).is_some()
}

/// A picture as f32[channels, height, width]: grey for one channel, red, green and blue for 3, with opacity for 4. With
/// a `size`, height and width, it is resized to that, each pixel the weighted mean of those that it covers.
pub fn read(path: &Path, channels: usize, size: Option<[usize; 2]>) -> Result<Tensor, FileError> {
    let wrong = |message: String| FileError::content(path, message);
    let (file, _) = open_data(path)?;
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(|e| FileError::io(path, e))?;
    let mut picture = reader.decode().map_err(|e| wrong(format!("no picture that can be read: {e}")))?;
    if let Some([height, width]) = size
        && (picture.height() as usize, picture.width() as usize) != (height, width)
    {
        let side = |n: usize| u32::try_from(n).ok().filter(|n| (1..=1 << 16).contains(n));
        let sides = side(height).zip(side(width));
        let (height, width) = sides.ok_or_else(|| wrong(format!("cannot be resized to {width} x {height} pixels")))?;
        // In floats, so that resizing does not round.
        let floats = match channels {
            1 => DynamicImage::ImageRgb32F(DynamicImage::ImageLuma16(picture.to_luma16()).to_rgb32f()),
            3 => DynamicImage::ImageRgb32F(picture.to_rgb32f()),
            _ => DynamicImage::ImageRgba32F(picture.to_rgba32f()),
        };
        picture = floats.resize_exact(width, height, FilterType::Triangle);
    }
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    let pixels = match channels {
        1 => picture.to_luma32f().into_raw(),
        3 => picture.to_rgb32f().into_raw(),
        4 => picture.to_rgba32f().into_raw(),
        n => return Err(wrong(format!("a picture has 1, 3 or 4 channels, not {n}"))),
    };
    Ok(Tensor::new(&[channels, height, width], &apart(&pixels, channels)))
}

/// Writes a picture: [height, width] or [channels, height, width] with 1, 3 or 4 channels, floats from 0 to 1 or u8.
/// What lies beyond that range is cut off.
pub fn write(path: &Path, picture: &Tensor) -> Result<(), FileError> {
    let wrong = |message: String| FileError::content(path, message);
    let (channels, height, width) = match picture.shape[..] {
        [height, width] => (1, height, width),
        [channels @ (1 | 3 | 4), height, width] => (channels, height, width),
        _ => {
            return Err(wrong(format!(
                "shape {:?} is none of a picture: [height, width] or [1, 3 or 4, height, width]",
                picture.shape
            )));
        }
    };
    let scale = if picture.elem.is_int() { 1.0 } else { 255.0 };
    let byte = |x: f64| (x * scale).round().clamp(0.0, 255.0) as u8;
    let pixels: Vec<u8> = together(&picture.to_f64(), channels).into_iter().map(byte).collect();
    let colours = match channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        _ => ExtendedColorType::Rgba8,
    };
    let side = |n: usize| u32::try_from(n).map_err(|_| wrong(format!("{width} x {height} pixels are too many")));
    let (width, height) = (side(width)?, side(height)?);
    let format = match format_named(path) {
        Some(ImageFormat::Jpeg) if channels == 4 => return Err(wrong("JPEG has no opacity; write a PNG".into())),
        Some(format) => format,
        None => return Err(wrong("names no kind of picture: .png, .jpg or .jpeg".into())),
    };
    let mut bytes = Cursor::new(vec![]);
    image::write_buffer_with_format(&mut bytes, &pixels, width, height, colours, format)
        .map_err(|e| wrong(e.to_string()))?;
    write_whole(path, bytes.get_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::Elem;

    #[test]
    fn pictures_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let colours = Tensor::new(&[3, 1, 2], &[0f32, 1.0, 0.2, 0.4, -1.0, 2.0]);
        write(&path, &colours).unwrap();
        assert_eq!(read(&path, 3, None).unwrap(), Tensor::new(&[3, 1, 2], &[0f32, 1.0, 0.2, 0.4, 0.0, 1.0]));
        assert_eq!(read(&path, 4, None).unwrap().to_f64()[6..], [1.0, 1.0]);
        let grey = Tensor::new(&[2, 2], &[0u8, 255, 51, 102]);
        write(&path, &grey).unwrap();
        assert_eq!(read(&path, 1, None).unwrap(), Tensor::new(&[1, 2, 2], &[0f32, 1.0, 0.2, 0.4]));
        let small = read(&path, 1, Some([1, 1])).unwrap();
        assert_eq!(small.shape, [1, 1, 1]);
        assert!((small.to_f64()[0] - 0.4).abs() < 1e-4);
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, b"\x89PNG\r\n\x1a\nnothing more").unwrap();
        assert!(read(&path, 3, None).unwrap_err().to_string().contains("no picture that can be read"));
        let message = write(&path, &Tensor::zeros(Elem::F32, &[2, 5, 5])).unwrap_err().to_string();
        assert!(message.contains("shape [2, 5, 5] is none of a picture"), "{message}");
        let opaque = write(&folder.path().join("a.jpg"), &Tensor::zeros(Elem::F32, &[4, 5, 5]));
        assert!(opaque.unwrap_err().to_string().ends_with("JPEG has no opacity; write a PNG"));
    }
}
