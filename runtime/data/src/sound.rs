//! Sounds in WAV files, as tensors of shape [channels, samples] with values from -1 to 1.

use crate::channels::{apart, together};
use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use std::io::{BufReader, Cursor};
use std::path::Path;
use tensor::{FileError, Tensor, open_data, write_whole};

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Samples a second.
    pub rate: u32,
    /// f32[channels, samples]
    pub samples: Tensor,
}

/// Reads a sound: integers of 8 to 32 bits, or floats.
pub fn read(path: &Path) -> Result<Sound, FileError> {
    let wrong = |e: hound::Error| FileError::content(path, format!("no WAV file that can be read: {e}"));
    let (file, _) = open_data(path)?;
    let reader = WavReader::new(BufReader::new(file)).map_err(wrong)?;
    let WavSpec { channels, sample_rate, bits_per_sample, sample_format } = reader.spec();
    let values: Vec<f32> = match sample_format {
        SampleFormat::Float => reader.into_samples::<f32>().collect::<Result<_, _>>().map_err(wrong)?,
        SampleFormat::Int => {
            let full = 2f32.powi(bits_per_sample as i32 - 1);
            let scaled = |s: Result<i32, hound::Error>| s.map(|s| s as f32 / full);
            reader.into_samples::<i32>().map(scaled).collect::<Result<_, _>>().map_err(wrong)?
        }
    };
    let channels = channels.max(1) as usize;
    let rows = apart(&values, channels);
    Ok(Sound { rate: sample_rate, samples: Tensor::new(&[channels, rows.len() / channels], &rows) })
}

/// Writes floats of shape [samples] or [channels, samples] as 32-bit floats.
pub fn write(path: &Path, rate: u32, samples: &Tensor) -> Result<(), FileError> {
    let wrong = |message: String| FileError::content(path, message);
    let channels = match samples.shape[..] {
        [_] => 1,
        [channels @ 1..=64, _] => channels,
        _ => {
            return Err(wrong(format!(
                "shape {:?} is none of a sound: [samples] or [channels, samples]",
                samples.shape
            )));
        }
    };
    let spec = WavSpec {
        channels: channels as u16,
        sample_rate: rate,
        bits_per_sample: 32,
        sample_format: SampleFormat::Float,
    };
    let values = together(&samples.to_f64(), channels);
    let mut bytes = Cursor::new(vec![]);
    let mut write = || -> Result<(), hound::Error> {
        let mut writer = WavWriter::new(&mut bytes, spec)?;
        values.iter().try_for_each(|x| writer.write_sample(*x as f32))?;
        writer.finalize()
    };
    write().map_err(|e| wrong(e.to_string()))?;
    write_whole(path, bytes.get_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sounds_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let samples = Tensor::new(&[2, 3], &[0f32, 0.5, -1.0, 0.25, 1.0, 0.125]);
        write(&path, 16_000, &samples).unwrap();
        assert_eq!(read(&path).unwrap(), Sound { rate: 16_000, samples });
        let spec = WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let mut writer = WavWriter::create(&path, spec).unwrap();
        [0i16, 16384, -32768].iter().for_each(|s| writer.write_sample(*s).unwrap());
        writer.finalize().unwrap();
        assert_eq!(read(&path).unwrap().samples, Tensor::new(&[1, 3], &[0f32, 0.5, -1.0]));
        std::fs::write(&path, b"RIFF....WAVE").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("no WAV file that can be read"));
        let message = write(&path, 1, &Tensor::zeros(tensor::Elem::F32, &[1, 2, 3])).unwrap_err().to_string();
        assert!(message.contains("is none of a sound"), "{message}");
    }
}
