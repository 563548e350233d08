//! Whole models on each instruction set: see `tests::models`.

use tests::models::case;

#[test]
fn mlp() {
    case("mlp").check();
}

#[test]
fn bert() {
    case("bert").check();
}

#[test]
fn resnet() {
    case("resnet").check();
}

#[test]
fn images() {
    case("images").check();
}

#[test]
fn images_of_any_size() {
    case("images of any size").check();
}

#[test]
fn sounds() {
    case("sounds").check();
}

#[test]
fn lstm() {
    case("lstm").check();
}

#[test]
fn scan_of_both() {
    case("scan of both").check();
}

#[test]
fn scan_of_counts() {
    case("scan of counts").check();
}

#[test]
fn scan_of_map() {
    case("scan of map").check();
}

#[test]
fn scan_of_a_grid() {
    case("scan of a grid").check();
}

#[test]
fn scan_of_two_with_noise() {
    case("scan of two with noise").check();
}

#[test]
fn diagonal() {
    case("diagonal").check();
}

#[test]
fn detections() {
    case("detections").check();
}

#[test]
fn chosen_sizes() {
    case("chosen sizes").check();
}

#[test]
fn vit() {
    case("vit").check();
}

#[test]
fn t5() {
    case("t5").check();
}

#[test]
fn generator() {
    case("generator").check();
}

#[test]
fn unet() {
    case("unet").check();
}

#[test]
fn discriminator() {
    case("discriminator").check();
}

#[test]
fn vae() {
    case("vae").check();
}

#[test]
fn silero_vad() {
    case("silero_vad").check();
}
