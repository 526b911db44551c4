//! Tests of folders of images.

use crate::data::classes::Classes;
use crate::data::folder::Folder;
use crate::data::images::Data;
use image::RgbImage;
use std::fs;
use std::path::Path;

fn colourful(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 9) as u8, (y * 7) as u8, 40]))
}

fn folder(path: &Path) -> Folder {
    Folder { path: path.into(), ..Folder::default() }
}

fn refusal(folder: &Folder) -> String {
    format!("{:#}", folder.open(None, 0).unwrap_err())
}

#[test]
fn unusable_files_are_skipped_with_a_reason() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for name in ["3.a.png", "1.b.png", "7.c.png"] {
        colourful(12, 10).save(at(name)).unwrap();
    }
    image::GrayImage::new(8, 8).save(at("2.grey.png")).unwrap();
    let whole = fs::read(at("3.a.png")).unwrap();
    fs::write(at("4.cut.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(at("5.text.jpg"), "hello").unwrap();
    fs::write(at("notes.txt"), "hello").unwrap();
    let source = folder(place.path());
    let data = source.open(None, 1).unwrap();
    let mut found: Vec<(&str, i64)> =
        data.pictures.iter().map(|p| (p.name.as_str(), p.label)).collect();
    found.sort_unstable();
    assert_eq!(found, [("1.b.png", 0), ("3.a.png", 2), ("7.c.png", 6)]);
    let reasons: Vec<(&str, &str)> =
        data.skipped.iter().map(|s| (s.name.as_str(), s.reason.as_str())).collect();
    assert_eq!(reasons[0], ("2.grey.png", "greyscale"));
    assert!(reasons[1].1.starts_with("damaged image: "), "{reasons:?}");
    assert_eq!(
        reasons[2..],
        [
            ("5.text.jpg", "neither PNG, JPEG, WebP nor BMP"),
            ("notes.txt", "no label in the name (`<label, from 1>.<id>.jpg` or a WordNet id)")
        ]
    );

    let order = |seed| -> Vec<String> {
        source.open(None, seed).unwrap().pictures.into_iter().map(|p| p.name).collect()
    };
    assert_eq!(order(1), order(1));
    assert!((2..20).any(|seed| order(seed) != order(1)), "the seed shuffles");
    assert_eq!(source.open(Some(2), 1).unwrap().pictures.len(), 2);
}

#[test]
fn class_folders_are_named_by_wordnet_ids_or_names() {
    let place = tempfile::tempdir().unwrap();
    let save = |name: &str| {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        colourful(9, 9).save(path).unwrap();
    };
    for name in ["n01440764/a.png", "Goldfish/b.png", "n02012849/images/deep/c.png"] {
        save(name);
    }
    fs::create_dir(place.path().join("toilet_paper")).unwrap();
    fs::write(place.path().join("read.me"), "hello").unwrap();
    let source = folder(place.path());
    let data = source.open(None, 0).unwrap();
    let mut found: Vec<(&str, i64)> =
        data.pictures.iter().map(|p| (p.name.as_str(), p.label)).collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [("Goldfish/b.png", 1), ("n01440764/a.png", 0), ("n02012849/images/deep/c.png", 134)]
    );
    let skipped: Vec<(&str, &str)> =
        data.skipped.iter().map(|s| (s.name.as_str(), s.reason.as_str())).collect();
    assert_eq!(
        skipped,
        [("read.me", "not in a folder of a class"), ("toilet_paper", "no file in the folder")]
    );
    assert_eq!(data.classes, Some(Classes::imagenet()));

    save("tench/d.png");
    assert!(
        refusal(&source).ends_with(": `n01440764` and `tench` are the same class: merge them"),
        "{}",
        refusal(&source)
    );
    fs::rename(place.path().join("tench"), place.path().join("n0144076")).unwrap();
    let expected = "the folder `n0144076` is no class, did you mean `n01440764`? (the classes \
                    are ImageNet's; `classes = \"…\"`";
    assert!(refusal(&source).contains(expected), "{}", refusal(&source));
    fs::rename(place.path().join("n0144076"), place.path().join("crane")).unwrap();
    assert!(refusal(&source).contains(
        "the folder `crane` is the name of several classes: `n02012849` and `n03126707`"
    ));
    fs::rename(place.path().join("crane/d.png"), place.path().join("8.d.png")).unwrap();
    assert!(
        refusal(&source).contains(
            "`8.d.png` has its label in its name, but there are also folders (Goldfish, …)"
        )
    );
}

#[test]
fn class_folders_may_be_of_classes_of_ones_own() {
    let place = tempfile::tempdir().unwrap();
    for name in ["dog", "cat"] {
        fs::create_dir_all(place.path().join("photos").join(name)).unwrap();
        colourful(9, 9).save(place.path().join("photos").join(name).join("a.png")).unwrap();
    }
    fs::write(place.path().join("names.txt"), "cat\ndog\n").unwrap();
    let source = Folder {
        classes: Some(place.path().join("names.txt")),
        ..folder(&place.path().join("photos"))
    };
    let mut found: Vec<(String, i64)> =
        source.open(None, 0).unwrap().pictures.into_iter().map(|p| (p.name, p.label)).collect();
    found.sort_unstable();
    assert_eq!(found, [("cat/a.png".into(), 0), ("dog/a.png".into(), 1)]);
    fs::write(place.path().join("names.txt"), "cats\ndog\n").unwrap();
    assert!(
        refusal(&source).contains(
            "the folder `cat` is no class, did you mean `cats`? (the classes are those of "
        )
    );
}

#[test]
fn a_label_file_names_images_labels_and_targets() {
    let place = tempfile::tempdir().unwrap();
    for name in ["a.png", "b.png"] {
        colourful(12, 10).save(place.path().join(name)).unwrap();
    }
    let labels = place.path().join("labels.csv");
    let source = Folder { labels: Some(labels.clone()), ..folder(place.path()) };
    let open = |text: &str, first_label: i64| {
        fs::write(&labels, text).unwrap();
        Folder { first_label: Some(first_label), ..source.clone() }.open(None, 0)
    };
    let told = |data: Data| {
        let mut told: Vec<_> =
            data.pictures.into_iter().map(|p| (p.name, p.label, p.target)).collect();
        told.sort();
        told
    };
    let data = open("label,file,licence,target\n4,a.png,CC0,7\nn01443537,b.png,CC0,\n", 0).unwrap();
    assert_eq!(told(data), [("a.png".into(), 4, Some(7)), ("b.png".into(), 1, None)]);
    let data = open("file,label\na.png,1\n", 1).unwrap();
    assert_eq!(told(data), [("a.png".into(), 0, None)]);
    for (text, first, expected) in [
        ("file,label\na.png,cat\n", 0, "line 2: the label of `a.png`: `cat` is no class"),
        (
            "file,label\na.png,-1\n",
            0,
            "line 2: the label of `a.png`: found -1, but classes are counted from 0 \
             (`first_label`)",
        ),
        (
            "file,label\na.png,0\n",
            1,
            "line 2: the label of `a.png`: found 0, but classes are counted from 1 \
             (`first_label`)",
        ),
        (
            "file,label,target\na.png,3,tnech\n",
            0,
            "line 2: the target of `a.png`: `tnech` is no class, did you mean `tench`?; a \
             number",
        ),
        (
            "file,label,target\na.png,3,3\n",
            0,
            "line 2: the target of `a.png` is its label: another class is expected",
        ),
        (
            "file,label\na.png,1\na.png,1\n",
            0,
            "line 3: `a.png` stands there twice, first in line 2",
        ),
        ("file,label\n,1\n", 0, "line 2: no file is named"),
        ("file,label\na.png,1\ngone.png,2\n", 0, "`gone.png` (line 3)"),
        (
            "picture,label\na.png,1\n",
            0,
            "the columns `file` and `label` are expected, found picture, label",
        ),
        ("file,label\n", 0, "no line after the header"),
    ] {
        let error = open(text, first).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_empty_folder_and_one_without_an_image_are_refused() {
    let place = tempfile::tempdir().unwrap();
    assert!(refusal(&folder(place.path())).ends_with(" is empty"));
    fs::create_dir(place.path().join("tench")).unwrap();
    let error = refusal(&folder(place.path()));
    assert!(error.ends_with(": 1 file skipped (tench: no file in the folder, …)"), "{error}");
    assert!(refusal(&folder(&place.path().join("gone"))).contains("No such file or directory"));
}

#[test]
fn a_file_that_changes_under_the_study_is_noticed() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("1.x.png");
    colourful(12, 10).save(&path).unwrap();
    let data = folder(place.path()).open(None, 0).unwrap();
    colourful(11, 10).save(&path).unwrap();
    assert!(
        data.pictures[0].pixels(8).unwrap_err().to_string().contains("changed while the study ran")
    );
}

/// A folder with small images of these names, each with pixels of its own, and texts.
fn place(images: &[&str], texts: &[(&str, &str)]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    for (n, name) in images.iter().enumerate() {
        let image = colourful(9 + n as u32, 9);
        image.save_with_format(at(name), image::ImageFormat::Png).unwrap();
    }
    for (name, text) in texts {
        fs::write(at(name), text).unwrap();
    }
    place
}

fn labels(data: &Data) -> Vec<(&str, i64)> {
    let mut labels: Vec<_> = data.pictures.iter().map(|p| (p.name.as_str(), p.label)).collect();
    labels.sort_unstable();
    labels
}

fn skipped(data: &Data) -> Vec<(&str, &str)> {
    data.skipped.iter().map(|s| (s.name.as_str(), s.reason.as_str())).collect()
}

#[test]
fn class_folders_may_be_numbers() {
    let place = place(&["0/a.png", "7/b.png", "999/c.png"], &[]);
    let data = folder(place.path()).open(None, 0).unwrap();
    assert_eq!(labels(&data), [("0/a.png", 0), ("7/b.png", 7), ("999/c.png", 999)]);
    // The numbers may be those of any data set.
    assert_eq!(data.classes, None);
    let from_one = Folder { first_label: Some(1), ..folder(place.path()) };
    assert!(refusal(&from_one).contains("the folder found 0, but classes are counted from 1"));
    fs::rename(place.path().join("0"), place.path().join("007")).unwrap();
    assert!(refusal(&from_one).contains("`007` and `7` are the same class: merge them"));
    fs::remove_dir_all(place.path().join("007")).unwrap();
    assert_eq!(labels(&from_one.open(None, 0).unwrap()), [("7/b.png", 6), ("999/c.png", 998)]);
    // A name that is another class's number is refused here as in a label file.
    let names = place.path().join("names.txt");
    fs::write(&names, (0..10).rev().map(|n| format!("{n}\n")).collect::<String>()).unwrap();
    fs::remove_dir_all(place.path().join("999")).unwrap();
    let backwards = Folder { classes: Some(names), ..folder(place.path()) };
    assert!(refusal(&backwards).contains("`7` is the name of class 2 and the number of class 7"));
}

#[test]
fn files_may_have_a_wordnet_id_in_their_name() {
    let place = place(
        &[
            "n01440764_10026.JPEG",
            "ILSVRC2012_val_00000293_N01443537.JPEG",
            "n02012849-crane.png",
            "3.n01484850.png",
            "3.n01440764.png",
            "n01440764_n01443537.png",
            "n99999999_1.png",
            "n014407641.png",
        ],
        &[],
    );
    let data = folder(place.path()).open(None, 0).unwrap();
    assert_eq!(
        labels(&data),
        [
            ("3.n01484850.png", 2),
            ("ILSVRC2012_val_00000293_N01443537.JPEG", 1),
            ("n01440764_10026.JPEG", 0),
            ("n02012849-crane.png", 134),
        ]
    );
    assert_eq!(
        skipped(&data),
        [
            ("3.n01440764.png", "two labels in the name: 2 and 0, counted from 0"),
            ("n014407641.png", "no label in the name (`<label, from 1>.<id>.jpg` or a WordNet id)"),
            ("n01440764_n01443537.png", "two WordNet ids in the name: n01440764 and n01443537"),
            ("n99999999_1.png", "the name's WordNet id `n99999999` is no class"),
        ]
    );
    assert_eq!(data.classes, Some(Classes::imagenet()));
}

#[test]
fn label_files_are_read_in_the_forms_that_data_sets_have() {
    let val = "ILSVRC2012_val_00000001.JPEG";
    let solution = "ImageId,PredictionString\n\
                    ILSVRC2012_val_00000001,n01443537 111 108 441 193 n01443537 1 2 3 4 \n";
    for (text, expected) in [
        (solution, (val, 1, None)),
        ("ILSVRC2012_val_00000001.JPEG 65\n", (val, 65, None)),
        ("ILSVRC2012_val_00000001.JPEG\tgoldfish\n", (val, 1, None)),
        ("ILSVRC2012_val_00000001.JPEG great white shark\n", (val, 2, None)),
        ("train/a b.png;5\n", ("train/a b.png", 5, None)),
        ("train/a b.png 5\n", ("train/a b.png", 5, None)),
        ("FILE ;\" Label\" ; Target\r\n\r\n\"a;b.png\";3;4\r\n;;\r\n", ("a;b.png", 3, Some(4))),
        ("file\tlabel\n./train/a b.png\t3\n", ("train/a b.png", 3, None)),
        ("id,file_name,label\n7,train\\A B.PNG,3\n", ("train/a b.png", 3, None)),
        ("\u{feff}file,label\na;b,3\n", ("a;b.png", 3, None)),
        ("file,label,\n\"a;b.png\",3,\n", ("a;b.png", 3, None)),
        ("label,file,class\n3,a;b.png,dog\n", ("a;b.png", 3, None)),
        ("path|wnid\ntrain/a b.png|n01440764\n", ("train/a b.png", 0, None)),
        ("image label\ntrain/a b.png 3\n", ("train/a b.png", 3, None)),
    ] {
        let place = place(&[val, "train/a b.png", "a;b.png"], &[("labels.txt", text)]);
        let source =
            Folder { labels: Some(place.path().join("labels.txt")), ..folder(place.path()) };
        let data = source.open(None, 0).unwrap_or_else(|error| panic!("{text}: {error:#}"));
        let found: Vec<_> =
            data.pictures.iter().map(|p| (p.name.as_str(), p.label, p.target)).collect();
        assert_eq!((found, data.first_label), (vec![expected], 0), "{text}");
        assert_eq!(data.notes, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn the_competition_of_2017_counts_classes_from_1_and_that_is_said() {
    let header = "ImageId,URL,x1,TrueLabel,TargetClass,Author\n";
    let text = format!("{header}0c7ac4a8c9dfa802,http://x,0.1,306,779,someone\n");
    let place = place(&["0c7ac4a8c9dfa802.png"], &[("images.csv", &text)]);
    let source = Folder { labels: Some(place.path().join("images.csv")), ..folder(place.path()) };
    let data = source.open(None, 0).unwrap();
    assert_eq!((data.pictures[0].label, data.pictures[0].target), (305, Some(778)));
    assert_eq!((data.first_label, data.notes.len()), (1, 1));
    assert!(data.notes[0].contains("classes count from 1 (`first_label = 1`)"), "{:?}", data.notes);
    let from_zero = Folder { first_label: Some(0), ..source.clone() }.open(None, 0).unwrap();
    assert_eq!((from_zero.pictures[0].label, from_zero.notes.len()), (306, 0));
    fs::write(place.path().join("images.csv"), "ImageId,TrueLabel\n0c7ac4a8c9dfa802,306\n")
        .unwrap();
    assert!(
        refusal(&source).ends_with("say `first_label = 1` or `first_label = 0`"),
        "{}",
        refusal(&source)
    );
}

#[test]
fn metadata_of_hugging_face_is_found_and_that_is_said() {
    let text = "file_name,caption,labels\ntrain/a.png,\"a dog, sitting\",3\n";
    let place = place(&["train/a.png"], &[("metadata.csv", text)]);
    let data = folder(place.path()).open(None, 0).unwrap();
    assert_eq!(labels(&data), [("train/a.png", 3)]);
    assert!(data.notes[0].starts_with("labels are those of "), "{:?}", data.notes);
    // Without labels it is a file like others.
    fs::write(place.path().join("metadata.csv"), "file_name,text\ntrain/a.png,dog\n").unwrap();
    fs::rename(place.path().join("train"), place.path().join("n01443537")).unwrap();
    let data = folder(place.path()).open(None, 0).unwrap();
    assert_eq!(labels(&data), [("n01443537/a.png", 1)]);
    assert_eq!(skipped(&data)[0].0, "metadata.csv");
    assert!(skipped(&data)[0].1.starts_with("no label file: the columns `file` and `label` are"));
}

#[test]
fn label_files_that_cannot_be_read_say_what_to_do() {
    for (text, expected) in [
        ("490\n361\n171\n", "3 lines with a number each, and no names of files"),
        ("{\"file_name\": \"a.png\", \"label\": 3}\n", "the file is JSON"),
        ("", "the file is empty"),
        ("file,label,class\n", "no line after the header"),
        ("file,class,wnid\na.png,3,n01440764\n", "`class` and `wnid` can be the labels"),
        ("file,label,Label\na.png,3,4\n", "the columns 2 and 3 of the header are both called"),
        ("a.png,3,4\n", "line 1 has 3 fields, and there is no header"),
        ("file,label\n\na.png,great, white\n", "line 3 has 3 of 2 fields"),
        ("file,label\n# a comment\n", "line 2 has 1 of 2 fields"),
        ("a.png 3\nb.png\n", "line 2: found `b.png`, expected `file label`"),
        ("a.png 3\nA.PNG 3\n", "line 2: `a.png` stands there twice, first in line 1"),
        ("file,label\na.jpg,3\n", "`a.jpg` (line 2, but `a.png` is there)"),
        (
            "ImageId,PredictionString\na,n01440764 1 2 3 4 n01443537 1 2 3 4\n",
            "line 2: `n01440764 1 2 3 4 n01443537 1 2 3 4`: boxes of several classes",
        ),
        ("ImageId,PredictionString\na,n01440764 1 2\n", "3 words are found, an id and four"),
        ("file,label\ntwice,3\n", "line 2: `twice` can be `twice.bmp` or `twice.png`"),
        ("file,label\na.png,99999999999999999999\n", "`99999999999999999999` is no class"),
    ] {
        let place = place(&["a.png", "twice.png", "twice.bmp"], &[("labels.csv", text)]);
        let source =
            Folder { labels: Some(place.path().join("labels.csv")), ..folder(place.path()) };
        assert!(refusal(&source).contains(expected), "{text}: {}", refusal(&source));
    }
}

#[test]
fn links_are_followed_once_and_what_is_not_ours_is_left_out() {
    use std::os::unix::fs::symlink;
    let place = place(
        &[
            "photos/n01440764/a.png",
            "photos/n01440764/old/b.png",
            "photos/n01443537/c.png",
            "more/d.png",
        ],
        &[
            ("photos/n01440764/@eaDir/a.png", "x"),
            ("photos/n01440764/._a.png", "x"),
            ("photos/n01440764/Thumbs.db", "x"),
            ("photos/n01440764/.DS_Store", "x"),
            ("photos/__MACOSX/n01440764/._a.png", "x"),
        ],
    );
    let photos = place.path().join("photos");
    let link = |to: &str, name: &str| symlink(to, photos.join(name)).unwrap();
    link("..", "n01440764/up");
    link("../../..", "n01440764/further");
    link("../../n01443537", "n01440764/old/other");
    link("../../more", "n01443537/more");
    link("../../more", "n01440764/more");
    link("gone.png", "n01440764/dangling.png");
    link("loop", "n01440764/loop");
    link(".", "all");
    link("n01440764", "tench");
    let data = folder(&photos).open(None, 0).unwrap();
    assert_eq!(
        labels(&data),
        [
            ("n01440764/a.png", 0),
            ("n01440764/more/d.png", 0),
            ("n01440764/old/b.png", 0),
            ("n01443537/c.png", 1),
        ]
    );
    let again = "a link to a folder that is read already";
    let reasons: Vec<(&str, &str)> = skipped(&data)
        .into_iter()
        .map(|(name, reason)| (name, reason.split(':').next().unwrap_or_default()))
        .collect();
    assert_eq!(
        reasons,
        [
            ("all", again),
            ("n01440764/dangling.png", "a link that leads nowhere"),
            ("n01440764/further", again),
            ("n01440764/loop", "a link that leads nowhere"),
            ("n01440764/old/other", again),
            ("n01440764/up", again),
            ("n01443537/more", again),
            ("tench", again),
        ]
    );
    link("n01440764", "goldfish");
    assert!(refusal(&folder(&photos)).ends_with(
        "`goldfish` is a link to the images of `n01440764`, which is another class: remove the link"
    ));
}

#[test]
fn other_formats_are_named_with_the_way_from_them() {
    let place = place(
        &["1.a.png"],
        &[
            ("1.b.png", "GIF89a…"),
            ("1.c.jpg", ""),
            ("1.d.npy", "\u{0}"),
            ("1.e.jpg", "<!DOCTYPE html>"),
            ("1.f.jpg", "version https://git-lfs.github.com/spec/v1"),
        ],
    );
    for (name, bytes) in [
        ("1.g.tif", &b"II*\0rest"[..]),
        ("1.h.heic", b"\0\0\0\x18ftypheic"),
        ("1.i.avif", b"\0\0\0\x18ftypavif"),
        ("1.j.jp2", b"\0\0\0\x0cjP  \r\n"),
        ("1.k.npy", b"\x93NUMPY"),
        ("1.l.jpg", b"\xff\xd8"),
        ("1.m.ppm", b"P6\n1 1\n255\n"),
    ] {
        fs::write(place.path().join(name), bytes).unwrap();
    }
    let data = folder(place.path()).open(None, 0).unwrap();
    assert_eq!(
        skipped(&data),
        [
            ("1.b.png", "GIF: save it as PNG"),
            ("1.c.jpg", "an empty file"),
            ("1.d.npy", "neither PNG, JPEG, WebP nor BMP"),
            ("1.e.jpg", "HTML page in place of an image: fetch it again"),
            ("1.f.jpg", "pointer of Git LFS: `git lfs pull` fetches the image"),
            ("1.g.tif", "TIFF: save it as PNG"),
            ("1.h.heic", "HEIC: save it as PNG"),
            ("1.i.avif", "AVIF: save it as PNG"),
            ("1.j.jp2", "JPEG 2000: save it as PNG"),
            ("1.k.npy", "NumPy array: `PIL.Image.fromarray(array)` saves each image as PNG"),
            ("1.l.jpg", "JPEG that ends after its first bytes: fetch it again"),
            ("1.m.ppm", "PNM: save it as PNG"),
        ]
    );
}
