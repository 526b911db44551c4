//! Loading of images against Pillow, with which the published study loaded them. The script in
//! `fixtures/images` made the expected ones.

use gauntlet_runner::data::open_image;
use image::RgbImage;
use std::path::Path;
use tch::{Kind, Tensor};

const SIDES: [i64; 4] = [28, 29, 40, 60];

#[test]
fn loading_agrees_with_pillow() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/images");
    for name in [
        "landscape.png",
        "square.png",
        "portrait_420.jpg",
        "landscape_422_progressive.jpg",
        "square_444.jpg",
        "grey.png",
        "grey.jpg",
        "palette.png",
        "alpha.png",
    ] {
        let expected: RgbImage =
            image::open(folder.join(format!("{name}.expected.png"))).unwrap().into_rgb8();
        let (width, height) = (i64::from(expected.width()), i64::from(expected.height()));
        let expected = Tensor::from_slice(expected.as_raw())
            .view([height, width, 3])
            .permute([2, 0, 1])
            .to_kind(Kind::Float);
        let mut left = 0;
        for side in SIDES {
            let pixels = open_image(&folder.join(name), side).unwrap() * 255.0;
            let difference =
                (pixels - expected.narrow(2, left, side).narrow(1, 0, side)).abs().round();
            let (most, differing) = (
                difference.max().double_value(&[]),
                difference.gt(0.0).sum(Kind::Int64).int64_value(&[]),
            );
            println!(
                "{name} at {side}: {differing} of {} samples differ, by at most {most} levels",
                3 * side * side
            );
            assert!(most <= 1.0, "{name} at {side}: {most} grey levels off");
            assert!(
                differing * 1000 <= 3 * side * side,
                "{name} at {side}: {differing} samples differ"
            );
            left += side;
        }
    }
}

#[test]
fn four_channels_are_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/images");
    assert!(
        open_image(&folder.join("cmyk.jpg"), 28)
            .unwrap_err()
            .to_string()
            .ends_with("cmyk.jpg: CMYK")
    );
}
