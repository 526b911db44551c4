//! Folders whose labels are in the names of files and folders.

use super::*;
use crate::data::folder::GREYSCALE;

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
    assert_eq!(reasons[0], ("2.grey.png", GREYSCALE));
    assert!(reasons[1].1.starts_with("damaged image: "), "{reasons:?}");
    assert_eq!(
        reasons[2..],
        [
            ("5.text.jpg", "neither PNG, JPEG, WebP nor BMP"),
            (
                "notes.txt",
                "no label in the name: `<label, from 1>.<id>.jpg` or a WordNet id is expected"
            )
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
    // An archive beside the folder that it was unpacked to is left out.
    fs::write(place.path().join("n01440764.tar"), "x").unwrap();
    assert_eq!(labels(&from_one.open(None, 0).unwrap()).len(), 2);
    fs::remove_file(place.path().join("n01440764.tar")).unwrap();
    // A name that is another class's number is refused here as in a label file.
    let names = place.path().join("names.txt");
    fs::write(&names, "9\n8\n7\n6\n5\n4\n3\n2\n1\n0\n").unwrap();
    fs::remove_dir_all(place.path().join("999")).unwrap();
    let backwards = Folder { classes: Some(names), ..folder(place.path()) };
    assert!(refusal(&backwards).contains("`7` is the name of class 2 and the number of class 7"));
    // So is a name of several classes that is the number of one.
    let names = place.path().join("twice.txt");
    fs::write(&names, "7\n7\n2\n3\n4\n5\n6\n8\n9\n1\n").unwrap();
    let twice = Folder { classes: Some(names), ..folder(place.path()) };
    assert!(refusal(&twice).contains("several classes"), "{}", refusal(&twice));
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
            (
                "n014407641.png",
                "no label in the name: `<label, from 1>.<id>.jpg` or a WordNet id is expected"
            ),
            ("n01440764_n01443537.png", "two WordNet ids in the name: n01440764 and n01443537"),
            ("n99999999_1.png", "the name's WordNet id `n99999999` is no class"),
        ]
    );
    assert_eq!(data.classes, Some(Classes::imagenet()));
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

#[test]
fn class_folders_may_have_a_wordnet_id_in_their_name() {
    let place = place(&["n02085620-Chihuahua/a.png", "n01440764 tench/b.png"], &[]);
    let data = folder(place.path()).open(None, 0).unwrap();
    assert_eq!(labels(&data), [("n01440764 tench/b.png", 0), ("n02085620-Chihuahua/a.png", 151)]);
}

#[test]
fn numbers_in_the_names_of_files_count_from_1_unless_said_otherwise() {
    let place = place(&["0.a.png", "3.b.png"], &[]);
    let read = |first_label: Option<i64>| {
        let data = Folder { first_label, ..folder(place.path()) }.open(None, 0).unwrap();
        let labels: Vec<i64> = labels(&data).into_iter().map(|(_, label)| label).collect();
        (labels, data.first_label)
    };
    assert_eq!(read(None), (vec![2], 1));
    assert_eq!(read(Some(0)), (vec![0, 3], 0));
}
