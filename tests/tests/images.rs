//! Loading of images against Pillow, with which the published study loaded them. The script in
//! `fixtures/images` made the expected ones.

use gauntlet_runner::data::{Data, Folder, Source, open_image};
use image::RgbImage;
use std::fs;
use std::path::Path;
use tch::{Kind, Tensor};

/// Side of the images in `fixtures/formats`.
const SIDE: usize = 16;
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

/// Forms that are read by other rounding than Pillow's: 5 and 6 bits are spread over 8.
const ROUNDED: [&str; 2] = ["rgb555.bmp", "rgb565.bmp"];

#[test]
fn every_form_of_an_image_file_gives_the_samples_of_pillow() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "expected.png" && name != "make.py")
        .collect();
    names.sort();
    let expected = image::open(folder.join("expected.png")).unwrap().into_rgb8();
    assert_eq!(expected.width() as usize, SIDE * names.len());
    let expected = Tensor::from_slice(expected.as_raw()).view([SIDE as i64, -1, 3]);
    let mut wrong = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let place = (n * SIDE) as i64;
        let expected = expected.narrow(1, place, SIDE as i64).permute([2, 0, 1]);
        match open_image(&folder.join(name), SIDE as i64) {
            Ok(pixels) => {
                let difference = (pixels * 255.0 - expected).abs().round();
                let most = difference.max().double_value(&[]);
                let differing = difference.gt(0.0).sum(Kind::Int64).int64_value(&[]);
                if most > f64::from(u8::from(ROUNDED.contains(&name.as_str()))) {
                    wrong.push(format!("{name}: {differing} samples differ, by at most {most}"));
                }
            }
            Err(error) => wrong.push(format!("{name}: {error:#}")),
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_study_and_predict_see_the_same_pixels() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats");
    let place = tempfile::tempdir().unwrap();
    let labels = place.path().join("labels.csv");
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    let lines = names.filter_map(|name| name.into_string().ok()).filter(|name| name != "make.py");
    let lines: Vec<String> = lines.map(|name| format!("{name},0\n")).collect();
    fs::write(&labels, format!("file,label\n{}", lines.concat())).unwrap();
    let mut source = Folder { path: folder.clone(), labels: Some(labels), ..Folder::default() };
    let skipped = |source: &Folder, reason: &str| -> Vec<String> {
        let data = Data::open(&Source::Folder(source.clone()), None, 0).unwrap();
        let skipped = data.skipped.into_iter().filter(|skipped| skipped.reason == reason);
        skipped.map(|skipped| skipped.name).collect()
    };
    let cmyk = "CMYK: `cmyk = true` in [data] takes such images";
    assert_eq!(skipped(&source, cmyk), ["cmyk.jpg", "cmyk_plain.jpg", "ycck.jpg"]);
    source.cmyk = true;
    assert_eq!(skipped(&source, cmyk), Vec::<String>::new());
    let grey = "greyscale: `greyscale = \"keep\"` in [data] takes such images";
    assert!(skipped(&source, grey).contains(&"grey8.bmp".to_owned()));
    let data = Data::open(&Source::Folder(source), None, 0).unwrap();
    assert!(data.pictures.len() > 25, "{}", data.pictures.len());
    for picture in data.pictures {
        let alone = open_image(&folder.join(&picture.name), SIDE as i64).unwrap();
        assert_eq!(picture.pixels(SIDE as i64).unwrap(), alone, "{}", picture.name);
    }
}

#[test]
fn a_webp_file_that_ends_early_is_damage() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats");
    let place = tempfile::tempdir().unwrap();
    let cut = place.path().join("cut.webp");
    for name in ["lossy.webp", "lossless.webp", "lossy_alpha.webp", "animated.webp"] {
        let whole = fs::read(folder.join(name)).unwrap();
        for length in [16, whole.len() / 3, whole.len() / 2, whole.len() - 20, whole.len() - 2] {
            fs::write(&cut, &whole[..length]).unwrap();
            let error = open_image(&cut, SIDE as i64).map(drop).unwrap_err().to_string();
            assert!(error.contains("damaged image: "), "{name} {length}: {error}");
        }
    }
}
