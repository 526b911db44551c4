//! Models of grey images and of images that are not square, beside those of square RGB images.

use gauntlet_core::device::Device;
use gauntlet_core::model::ImageShape;
use gauntlet_core::prelude::*;
use gauntlet_core::registry::Registry;
use gauntlet_core::testing::Affine;
use gauntlet_runner::analysis::Tables;
use gauntlet_runner::engine::{RunOptions, Silent};
use gauntlet_runner::report;
use gauntlet_runner::report::outcomes::{self, Outcome};
use gauntlet_runner::store::rows::Status;
use gauntlet_runner::study::StudyOptions;
use gauntlet_runner::{Session, Study};
use image::{DynamicImage, GrayImage, RgbImage};
use std::fs;
use std::path::Path;
use tch::CModule;
use tempfile::TempDir;

/// A finished study.
struct Run {
    study: Study,
    tables: Tables,
    out: TempDir,
}

fn registry() -> Registry {
    use gauntlet_plugins as _;
    Registry::linked().unwrap()
}

fn run(text: &str, folder: &Path) -> Run {
    let registry = registry();
    let study =
        Study::parse(text, "shapes.toml", folder, &registry, StudyOptions::default()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let options = RunOptions::on(Device::Cpu);
    let session = Session::open(&study, &registry, out.path(), options, &Silent).unwrap();
    let failures = session.run().unwrap().failures;
    assert!(failures.is_empty(), "{failures:?}");
    let tables = session.report().unwrap();
    drop(session);
    Run { study, tables, out }
}

impl Run {
    fn outcomes(&self, source: &str, target: &str) -> Vec<Outcome> {
        let mut all = Vec::new();
        outcomes::read(self.out.path(), |_, outcome| {
            if outcome.row.source == source && outcome.row.target == target {
                all.push(outcome);
            }
            Ok(())
        })
        .unwrap();
        all
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.out.path().join(name)).unwrap()
    }
}

#[test]
fn grey_miniatures_stand_in_one_study_with_those_of_rgb() {
    let text = "name = \"grey\"\nmetrics = [\"l2\", \"linf\", \"ssim\"]\n\
                data = { source = \"fashion-mnist\", images = 12 }\n\
                transfer = { policy = \"crop_or_pad\" }\n\
                [[models]]\nname = \"mini_vgg_16\"\n\
                [[models]]\nname = \"mini_vgg_16\"\nlabel = \"grey\"\nparams = { channels = 1 }\n\
                [[attacks]]\nname = \"fgsm\"\nparams = { epsilon = 0.1 }\n";
    let found = run(text, Path::new("."));
    let [rgb, grey] = [&found.tables.accuracy[0], &found.tables.accuracy[1]];
    assert_eq!((rgb.correct, rgb.top5), (grey.correct, grey.top5));
    assert!(grey.correct > 6);
    let own = found.outcomes("grey", "grey");
    let given = found.outcomes("grey", "mini_vgg_16");
    assert!(own.iter().filter(|outcome| outcome.row.status == Status::Adversarial).count() > 3);
    for (own, given) in own.iter().zip(&given) {
        // The same weights see the same image, as one channel and as three.
        assert_eq!(own.row.prediction, given.row.prediction);
        assert_eq!(given.row.control_prediction, own.row.source_clean);
        // Every one of 28·28 pixels moves by 0.1, but for those that leave [0, 1].
        if let Some(far) = own.distortions.get("distortion_l2") {
            assert!(*far <= 0.1 * 28.0 + 1e-5 && *far > 0.1 * 28.0 / 2.0, "{far}");
        }
    }
    assert!(found.tables.transfer.iter().all(|pair| pair.control.control().n > 0));
    let accuracy = found.file("accuracy.csv");
    assert!(accuracy.starts_with("model,family,side,channels,height,width,"), "{accuracy}");
    assert!(accuracy.contains("\ngrey,VGG,28,1,28,28,"), "{accuracy}");
    report::write_report(found.out.path()).unwrap();
    let page = found.file("report.html");
    assert!(page.contains("28×28 grey"), "the report says what images the model takes");
}

/// A study of one TorchScript module on a folder of images.
fn of_module(shape: &str, images: &str) -> String {
    format!(
        "name = \"module\"\nmetrics = [\"l2\", \"linf\", \"ssim\"]\nprobe = {{ images = 8 }}\n\
         data = {{ folder = \"images\", classes = \"classes.txt\"{images} }}\n\
         [[models]]\nkind = \"torchscript\"\nname = \"mine\"\nfile = \"mine.pt\"\nclasses = 3\n{shape}\n\
         [[attacks]]\nname = \"ifgsm\"\n[[attacks]]\nname = \"cw_l2\"\nparams = {{ iterations = 20 }}\n"
    )
}

/// Writes a module that is an affine function of images of a shape, and images of three classes
/// that it knows: class n is bright in the n-th third of the image's columns.
fn write_module(folder: &Path, shape: ImageShape, grey_files: bool) {
    let weight =
        Tensor::zeros([3, shape.channels, shape.height, shape.width], tch::kind::FLOAT_CPU);
    for class in 0..3 {
        let third = shape.width / 3;
        let _ = weight.get(class).narrow(2, class * third, third).fill_(0.05);
    }
    let weight = weight.view([3, -1]).tr() + Affine::of_shape(3, shape, 4).weight().tr() * 0.01;
    let traced = CModule::create_by_tracing(
        "mine",
        "forward",
        &[Tensor::zeros(shape.batch(1), tch::kind::FLOAT_CPU)],
        &mut |inputs: &[Tensor]| vec![inputs[0].flatten(1, -1).matmul(&weight)],
    );
    traced.unwrap().save(folder.join("mine.pt")).unwrap();
    fs::write(folder.join("classes.txt"), "left\nmiddle\nright\n").unwrap();
    for (class, name) in ["left", "middle", "right"].into_iter().enumerate() {
        let place = folder.join("images").join(name);
        fs::create_dir_all(&place).unwrap();
        for n in 0..4u32 {
            let bright = |x: u32| x * 3 / shape.width as u32 == class as u32;
            let level = |x: u32| if bright(x) { 150 + 5 * n as u8 } else { 100 };
            let (width, height) = (shape.width as u32, shape.height as u32);
            let image = if grey_files {
                let image = GrayImage::from_fn(width, height, |x, _| image::Luma([level(x)]));
                DynamicImage::from(image)
            } else {
                let colours = |x| image::Rgb([level(x), level(x), level(x) - 9]);
                DynamicImage::from(RgbImage::from_fn(width, height, |x, _| colours(x)))
            };
            image.save(place.join(format!("{n}.png"))).unwrap();
        }
    }
}

#[test]
fn a_module_of_grey_images_is_attacked_on_a_folder_of_grey_files() {
    let folder = tempfile::tempdir().unwrap();
    let shape = ImageShape { channels: 1, height: 12, width: 12 };
    write_module(folder.path(), shape, true);
    let text =
        of_module("side = 12\nchannels = 1\npreprocessing = { mean = [0.5], std = [0.5] }", "");
    let found = run(&text, folder.path());
    assert_eq!((found.tables.accuracy[0].images, found.tables.accuracy[0].correct), (12, 12));
    assert!(found.study.data.skipped.is_empty());
    for row in &found.tables.success {
        assert_eq!((row.success, row.invalid), (12, 0), "{:?}", row.attack);
    }
}

#[test]
fn images_that_are_not_square_have_their_distances_figures_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let shape = ImageShape { channels: 3, height: 12, width: 24 };
    write_module(folder.path(), shape, false);
    let found = run(&of_module("height = 12\nwidth = 24", ""), folder.path());
    assert_eq!(found.tables.accuracy[0].correct, 12);
    assert!(found.tables.success.iter().all(|row| row.success == 12));
    let accuracy = found.file("accuracy.csv");
    assert!(accuracy.contains("\nmine,TorchScript,12,3,12,24,"), "{accuracy}");
    report::write_report(found.out.path()).unwrap();
    assert!(found.file("report.html").contains("12×24"));
}

#[test]
fn a_module_that_takes_other_channels_says_how_many() {
    let folder = tempfile::tempdir().unwrap();
    let error = |channels: i64, said: &str| {
        write_module(folder.path(), ImageShape { channels, ..ImageShape::rgb(12) }, false);
        let text = of_module(&format!("side = 12\n{said}"), "");
        let options = StudyOptions::default();
        let study =
            Study::parse(&text, "shapes.toml", folder.path(), &registry(), options).unwrap();
        format!("{:#}", study.models[0].load(&registry(), Device::Cpu).err().unwrap())
    };
    let text = error(1, "");
    assert!(
        text.contains("given 3 images of 12×12 (it takes 1 channel: `channels = 1`): "),
        "{text}"
    );
    let text = error(3, "channels = 1");
    assert!(text.contains("12×12 grey (it takes 3 channels: `channels = 3`): "), "{text}");
}

#[test]
fn grey_files_are_left_out_of_rgb_studies_unless_the_study_keeps_them() {
    let folder = tempfile::tempdir().unwrap();
    write_module(folder.path(), ImageShape::rgb(12), true);
    let open = |images: &str| {
        let text = of_module("side = 12", images);
        let options = StudyOptions::default();
        Study::parse(&text, "shapes.toml", folder.path(), &registry(), options)
    };
    let error = format!("{:#}", open("").err().unwrap());
    assert!(
        error.contains("greyscale: `greyscale = \"keep\"` in [data] takes such images"),
        "{error}"
    );
    let kept = open(", greyscale = \"keep\"").unwrap();
    assert_eq!(kept.data.pictures.len(), 12);
    let pixels = kept.data.pictures[0].pixels(ImageShape::rgb(12)).unwrap();
    assert_eq!(pixels.get(0), pixels.get(2), "three equal channels");
    let resolved = kept.to_toml();
    assert!(resolved.contains("greyscale = \"keep\""), "{resolved}");
}

#[test]
fn a_shape_that_cannot_be_is_refused_at_its_key() {
    let folder = tempfile::tempdir().unwrap();
    write_module(folder.path(), ImageShape::rgb(12), false);
    for (shape, expected) in [
        ("side = 12\nchannels = 4", "`channels` is 4, expected 1 (grey) or 3 (RGB)"),
        ("height = 12", "`height` stands without `width`: both are expected"),
        ("side = 12\nheight = 12\nwidth = 24", "`side` is 12 beside `height` 12 and `width` 24"),
        (
            "side = 12\npreprocessing = { mean = [0.5, 0.5] }",
            "`preprocessing` has 2 values of `mean` for images of 3 channels",
        ),
        (
            "side = 12\nchannels = 1\npreprocessing = { channels = \"bgr\" }",
            "`preprocessing` orders channels, and the images are grey",
        ),
        ("", "a TorchScript module needs `file`, `side` (or `height` and `width`) and `classes`"),
    ] {
        let text = of_module(shape, "");
        let options = StudyOptions::default();
        let study = Study::parse(&text, "shapes.toml", folder.path(), &registry(), options);
        let error = format!("{:#}", study.err().unwrap());
        assert!(error.contains(expected), "{error}");
    }
}
