use super::{FileFormat, Purpose};
use crate::weights::Weights;
use proptest::prelude::*;
use std::fs;
use std::io::{Cursor, Write as _};
use tch::Device;

/// A zip archive of these files, stored without compression.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored =
        zip::write::FileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in files {
        archive.start_file(*name, stored).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A field of a protocol buffer that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

const ORDERED: &[u8] = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(X\x01\x00\x00\x00w\
                         ctorch._utils\n_rebuild_tensor_v2\nq\x03((X\x07\x00\x00\x00storage\
                         ctorch\nFloatStorage\nq\x08";
const MODULE: &[u8] = b"\x80\x02c__main__\nNet\nq\x00)\x81}(ctorch._utils\n_rebuild_tensor_v2\n";
const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";

/// What training writes: a dictionary of settings and weights.
const TRAINING: &[u8] = b"\x80\x02}q\x00(X\x04\x00\x00\x00argscargparse\nNamespace\nq\x01)\x81\
                          ctorch._utils\n_rebuild_tensor_v2\nq\x03";

/// Files of every format, the format, and how its description begins.
fn files() -> Vec<(Vec<u8>, FileFormat, &'static str)> {
    let mut tar = vec![b'a'; 600];
    tar[257..262].copy_from_slice(b"ustar");
    let node = field(1, &[field(1, b"x"), field(2, b"Const")].concat());
    let meta = [field(2, b"1"), field(5, b"1.15.0")].concat();
    let module =
        |version| archive(&[("m/data.pkl", MODULE), ("m/code/a.py", b""), ("m/version", version)]);
    let saved = archive(&[("w/data.pkl", ORDERED), ("w/data/0", &[0; 64]), ("w/version", b"3\n")]);
    let cut = saved[..saved.len() - 30].to_vec();
    let index =
        |file: &str| format!("{{\"metadata\": {{}}, \"weight_map\": {{\"w\": \"{file}\"}}}}");
    vec![
        (index("a-1.safetensors").into(), FileFormat::SafetensorsIndex, "the index of a safet"),
        (index("a-1.bin").into(), FileFormat::PickleIndex, "the index of weights of `torch.save`"),
        (b"node {\n  name: \"x\"\n}".to_vec(), FileFormat::GraphText, "a TensorFlow graph as te"),
        (b"# graph\nversions: {\n".to_vec(), FileFormat::GraphText, "a TensorFlow graph as text"),
        ([field(1, &meta), field(2, &node)].concat(), FileFormat::MetaGraph, "a TensorFlow gra"),
        ([&[8, 1][..], &field(2, &node)].concat(), FileFormat::SavedModel, "a TensorFlow SavedMod"),
        (b"table\x57\xfb\x80\x8b\x24\x75\x47\xdb".to_vec(), FileFormat::Checkpoint, "a TensorFl"),
        (b"model_checkpoint_path: \"x\"".to_vec(), FileFormat::CheckpointState, "the list of a "),
        (
            module(b"99\n"),
            FileFormat::TorchScript { version: Some(99), precision: None },
            "a TorchScript module of",
        ),
        (
            module(b"3\n"),
            FileFormat::TorchScript { version: Some(3), precision: None },
            "a TorchScript module; ",
        ),
        (saved, FileFormat::StateDict, "weights of PyTorch's `torch.save`"),
        (archive(&[("w/data.pkl", TRAINING)]), FileFormat::StateDict, "weights of PyTorch's"),
        (LEGACY.to_vec(), FileFormat::StateDict, "weights of PyTorch's `torch.save`"),
        (archive(&[("w/data.pkl", MODULE)]), FileFormat::PickledModule, "a whole module of PyTo"),
        ([LEGACY, MODULE].concat(), FileFormat::PickledModule, "a whole module of PyTorch's"),
        (b"\x80\x04\x95\x00".to_vec(), FileFormat::Pickle, "a pickle: a program"),
        (archive(&[("e/archive_format", b"pt2")]), FileFormat::ExportedProgram, "a program of P"),
        (b"\x93NUMPY\x01\0".to_vec(), FileFormat::Npy, "a NumPy array"),
        (archive(&[("a.npy", b"\x93NUMPY")]), FileFormat::Npz, "NumPy arrays"),
        (
            [&[8, 8][..], &field(2, b"pytorch"), &field(7, &node), &field(8, b"")].concat(),
            FileFormat::Onnx,
            "an ONNX model",
        ),
        (b"\x1c\0\0\0TFL3\x14\0".to_vec(), FileFormat::TfLite, "a TensorFlow Lite model"),
        (archive(&[("config.json", b"{}"), ("model.weights.h5", b"")]), FileFormat::Keras, "a Ke"),
        (b"\x89HDF\r\n\x1a\n\0\0".to_vec(), FileFormat::Hdf5, "an HDF5 file"),
        ([field(1, b"net"), vec![0xa2, 6, 0]].concat(), FileFormat::Caffe, "a Caffe model"),
        (b"GGUF\x03\0".to_vec(), FileFormat::Gguf, "a GGUF file"),
        (b"\x1f\x8b\x08\0".to_vec(), FileFormat::Archive, "an archive or a compressed file"),
        (tar, FileFormat::Archive, "an archive or a compressed file"),
        (archive(&[("readme.txt", b"")]), FileFormat::Archive, "an archive or a compressed file"),
        (cut, FileFormat::CutZip { torch: true }, "a zip archive that is cut off, as of PyTorch"),
        (b"PK\x03\x04".to_vec(), FileFormat::CutZip { torch: false }, "a zip archive that is cut"),
        (b"\n<!DOCTYPE html><html>".to_vec(), FileFormat::WebPage, "a web page or XML"),
        (b"<html>\xe9\xe8\xe0".to_vec(), FileFormat::WebPage, "a web page or XML"),
        (b"version https://git-lfs.github.com/spec/v1\n".to_vec(), FileFormat::LfsPointer, "a Gi"),
        (b"{\"a\": 1}".to_vec(), FileFormat::Json, "JSON"),
        (Vec::new(), FileFormat::Empty, "an empty file"),
        (b"weights".to_vec(), FileFormat::Unknown, "of no format that is known here"),
        (vec![0; 64], FileFormat::Unknown, "of no format that is known here"),
    ]
}

#[test]
fn a_graph_or_safetensors_whose_first_bytes_look_like_a_web_page_is_none() {
    // A first node of 60 bytes begins with a new line and `<`; so does a header of 0x3c20 bytes.
    let name = [b"x".repeat(46), b"\x00".to_vec()].concat();
    let node = [field(1, &name), field(2, b"Const")].concat();
    let node = [&node[..], &field(3, &[b'y'; 2])[..]].concat();
    assert_eq!(node.len(), 60);
    assert_ne!(FileFormat::of_bytes(&field(1, &node)), FileFormat::WebPage);
    let header = [&0x3c20u64.to_le_bytes()[..], b"{\"w\":", &[b' '; 64]].concat();
    assert_eq!(FileFormat::of_bytes(&header), FileFormat::Safetensors);
    assert_eq!(FileFormat::of_bytes(b"\n<!doctype html>"), FileFormat::WebPage);
}

#[test]
fn a_format_is_told_by_the_content_and_named_with_the_way_from_it() {
    for (bytes, format, start) in files() {
        assert_eq!(FileFormat::of_bytes(&bytes), format, "{start}");
        let as_weights = Weights::from_bytes(bytes, Device::Cpu).err().unwrap().to_string();
        assert_eq!(as_weights, format.refusal(Purpose::Weights));
        let known = !matches!(format, FileFormat::Unknown | FileFormat::Json);
        assert_eq!(!as_weights.ends_with("is expected"), known, "{as_weights}: a way");
        let as_module = format.refusal(Purpose::Module);
        for (text, expected) in [
            (&as_weights, "; a safetensors file or a frozen TensorFlow graph (.pb) is expected"),
            (&as_module, "; a TorchScript module is expected"),
        ] {
            assert!(text.starts_with(start) && text.contains(expected), "{text}");
        }
    }
}

#[test]
fn three_lines_of_python_lead_from_a_pickle_to_either() {
    let lines = |purpose| {
        let text = FileFormat::StateDict.refusal(purpose);
        text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let weights = lines(Purpose::Weights);
    assert_eq!(weights.len(), 3);
    assert!(weights[1].contains("weights_only=True") && weights[2].contains("save_file("));
    let module = lines(Purpose::Module);
    assert_eq!(module.len(), 3);
    let first = |format: FileFormat| {
        format.refusal(Purpose::Module).lines().next().unwrap_or_default().to_owned()
    };
    let end = "; a TorchScript module is expected. It has no code, so the network is needed; in \
               Python:";
    assert!(first(FileFormat::StateDict).ends_with(end));
    assert!(first(FileFormat::ExportedProgram).ends_with("is expected. In Python:"));
    assert!(module[1].contains("load_state_dict(") && module[2].contains("torch.jit.trace("));
}

#[test]
fn folders_and_values_without_names_are_told_by_their_names() {
    let place = tempfile::tempdir().unwrap();
    for (file, format) in [
        ("saved/saved_model.pb", FileFormat::SavedModel),
        ("ckpt/model.ckpt.data-00000-of-00001", FileFormat::Checkpoint),
        ("parts/model.safetensors.index.json", FileFormat::SafetensorsIndex),
        ("other/notes.txt", FileFormat::Folder),
    ] {
        let path = place.path().join(file);
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, [0x0a, 1, 2, 3]).unwrap();
        let folder = path.parent().unwrap();
        assert_eq!(FileFormat::of(folder).unwrap(), format);
        let error = format!("{:#}", Weights::open(folder, Device::Cpu).err().unwrap());
        assert!(error.ends_with(&format.refusal(Purpose::Weights)), "{error}");
    }
    let data = place.path().join("ckpt/model.ckpt.data-00000-of-00001");
    let error = format!("{:#}", Weights::open(&data, Device::Cpu).err().unwrap());
    assert!(error.contains("the values of a TensorFlow checkpoint"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_files_have_a_format_too(
        file in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let files = files();
        let mut bytes = files[file.index(files.len())].0.clone();
        bytes.push(0);
        for (place, byte) in flips {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let format = FileFormat::of_bytes(&bytes);
        prop_assert!(format.refusal(Purpose::Module).contains("is expected"));
        let _ = Weights::from_bytes(bytes, Device::Cpu);
    }
}
