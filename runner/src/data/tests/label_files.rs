//! Folders with a label file.

use super::*;

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
