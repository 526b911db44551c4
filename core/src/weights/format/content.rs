//! Tells a file's format by its content.

use super::kind::FileFormat;
use crate::guard;
use crate::weights::bytes::Bytes;
use crate::weights::protobuf::{Reader, Value};
use anyhow::Result;
use std::fs;
use std::io::{BufReader, Read};
use std::path::Path;
use zip::ZipArchive;

/// How many bytes of a file are looked at to tell its format.
const HEAD: u64 = 1 << 16;
/// Greatest length of a pickle that is looked at, in bytes. What is longer is cut.
const MAX_PICKLE: u64 = 4 << 20;
/// So many bytes of text are no graph, in bytes.
const MIN_TEXT: u64 = 16;
/// Last bytes of a TensorFlow checkpoint's index, which is a LevelDB table.
const TABLE_MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();

/// Beginnings of files, and what they are.
const MAGIC: [(&[u8], FileFormat); 13] = [
    (b"\x93NUMPY", FileFormat::Npy),
    (b"\x89HDF\r\n\x1a\n", FileFormat::Hdf5),
    (b"GGUF", FileFormat::Gguf),
    (b"version https://git-lfs", FileFormat::LfsPointer),
    (b"\x1f\x8b", FileFormat::Archive),
    (b"BZh", FileFormat::Archive),
    (b"\xfd7zXZ\0", FileFormat::Archive),
    (b"\x28\xb5\x2f\xfd", FileFormat::Archive),
    (b"7z\xbc\xaf\x27\x1c", FileFormat::Archive),
    (b"Rar!", FileFormat::Archive),
    (b"model_checkpoint_path:", FileFormat::CheckpointState),
    (b"saved_model_schema_version:", FileFormat::GraphText),
    (b"meta_info_def", FileFormat::GraphText),
];

/// The format of a file.
pub(super) fn file(bytes: &Bytes) -> Result<FileFormat> {
    let head = &*bytes.start(HEAD)?;
    if head.is_empty() {
        return Ok(FileFormat::Empty);
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        // Other people's code reads what may be damaged.
        let read = guard::catch("the archive", || Ok(zip(bytes, head)));
        return Ok(read.unwrap_or(FileFormat::CutZip { torch: false }));
    }
    if let Some((_, format)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Ok(*format);
    }
    // The header of safetensors, which its length stands before.
    if head.get(8) == Some(&b'{') && !text(head) {
        return Ok(FileFormat::Safetensors);
    }
    // A graph may begin with a new line and `<` too, but no tag follows there.
    if let [b'<', next, ..] = head.trim_ascii_start()
        && (next.is_ascii_alphabetic() || b"!?/".contains(next))
    {
        return Ok(FileFormat::WebPage);
    }
    if head.get(4..8) == Some(b"TFL3") {
        return Ok(FileFormat::TfLite);
    }
    if matches!(head, [0x80, 2..=5, ..]) {
        return Ok(pickle(&bytes.start(MAX_PICKLE)?));
    }
    if head.get(257..262) == Some(b"ustar") {
        return Ok(FileFormat::Archive);
    }
    if bytes.len() >= 8 && *bytes.read(bytes.len() - 8..bytes.len())? == TABLE_MAGIC {
        return Ok(FileFormat::Checkpoint);
    }
    let words = if text(head) { words(head) } else { FileFormat::Unknown };
    Ok(if words == FileFormat::Unknown { message(bytes, head[0]) } else { words })
}

/// The format of a folder, by the files in it.
pub(super) fn folder(path: &Path) -> FileFormat {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let any = |is: &dyn Fn(&str) -> bool| names.iter().any(|name| is(name));
    if any(&|name| name.starts_with("saved_model.pb")) {
        FileFormat::SavedModel
    } else if any(&|name| name == "checkpoint" || is_checkpoint_data(name)) {
        FileFormat::Checkpoint
    } else if any(&|name| name.ends_with(".safetensors.index.json")) {
        FileFormat::SafetensorsIndex
    } else {
        FileFormat::Folder
    }
}

/// Whether a name is that of a checkpoint's values: `model.ckpt.data-00000-of-00001`.
pub(super) fn is_checkpoint_data(name: &str) -> bool {
    let parts = name.rsplit_once(".data-").and_then(|(_, parts)| parts.split_once("-of-"));
    parts.is_some_and(|(part, of)| {
        [part, of].iter().all(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// Whether a file that begins so is text.
fn text(head: &[u8]) -> bool {
    let plain = |byte: &u8| *byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r');
    let head = &head[..head.len().min(512)];
    head.iter().all(plain) && String::from_utf8_lossy(head).matches('\u{fffd}').count() <= 1
}

/// The format of a text that begins so.
fn words(head: &[u8]) -> FileFormat {
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let holds = |key: &str| text.contains(&format!("\"{key}\""));
    let begins = |starts: &[&str]| {
        let mut lines = text.lines().map(str::trim);
        let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        line.is_some_and(|line| {
            let word = line.trim_end_matches('{').trim_end().trim_end_matches(':');
            starts.contains(&word)
        })
    };
    match text.chars().next() {
        Some('<') => FileFormat::WebPage,
        Some('{' | '[') if holds("weight_map") => {
            if text.contains(".safetensors") {
                FileFormat::SafetensorsIndex
            } else {
                FileFormat::PickleIndex
            }
        }
        Some('{' | '[') => FileFormat::Json,
        // Pickles of protocol 0, which is text.
        Some('(' | 'c') if text.starts_with("(dp") || globals(head).next().is_some() => {
            FileFormat::Pickle
        }
        _ if begins(&["node", "versions", "library", "graph_def", "meta_graphs"]) => {
            FileFormat::GraphText
        }
        _ => FileFormat::Unknown,
    }
}

/// The format of a zip archive.
fn zip(bytes: &Bytes, head: &[u8]) -> FileFormat {
    let Ok(mut archive) = ZipArchive::new(BufReader::new(bytes.cursor())) else {
        let first = head.get(30..).unwrap_or_default();
        let first = &first[..first.len().min(256)];
        let holds = |part: &[u8]| first.windows(part.len()).any(|window| window == part);
        return FileFormat::CutZip { torch: holds(b"data.pkl") || holds(b"/data/") };
    };
    let names: Vec<String> = archive.file_names().map(str::to_owned).collect();
    // PyTorch puts everything into a folder.
    let inside = |name: &str| {
        names.iter().find(|own| own.split_once('/').is_some_and(|own| own.1 == name)).cloned()
    };
    let any = |is: &dyn Fn(&str) -> bool| names.iter().any(|name| is(name));
    if any(&|name| Path::new(name).extension().is_some_and(|e| e == "npy")) {
        return FileFormat::Npz;
    }
    if inside("archive_format").is_some()
        || any(&|name| name.ends_with("serialized_exported_program.json"))
    {
        return FileFormat::ExportedProgram;
    }
    if any(&|name| name.ends_with("model.weights.h5")) {
        return FileFormat::Keras;
    }
    let legacy_module = inside("model.json").is_some();
    if legacy_module || inside("constants.pkl").is_some() || any(&|name| name.contains("/code/")) {
        let version = inside("version").and_then(|name| entry(&mut archive, &name, 32));
        let version =
            version.and_then(|text| String::from_utf8_lossy(&text).trim().parse::<u64>().ok());
        let pickle = inside("data.pkl").and_then(|name| entry(&mut archive, &name, MAX_PICKLE));
        return FileFormat::TorchScript { version, precision: pickle.and_then(|p| precision(&p)) };
    }
    match inside("data.pkl") {
        Some(name) => entry(&mut archive, &name, MAX_PICKLE)
            .map_or(FileFormat::StateDict, |content| pickle(&content)),
        None => FileFormat::Archive,
    }
}

/// The type of the tensors that a module's pickle names, where one is not float32.
fn precision(content: &[u8]) -> Option<&'static str> {
    const STORAGES: [(&[u8], &str); 3] = [
        (b"torch\nHalfStorage\n", "float16"),
        (b"torch\nBFloat16Storage\n", "bfloat16"),
        (b"torch\nDoubleStorage\n", "float64"),
    ];
    let named = |storage: &[u8]| content.windows(storage.len()).any(|window| window == storage);
    STORAGES.into_iter().find(|(storage, _)| named(storage)).map(|(_, precision)| precision)
}

/// At most `limit` bytes of a file in an archive. `None` for one that cannot be read.
fn entry<R: Read + std::io::Seek>(
    archive: &mut ZipArchive<R>,
    name: &str,
    limit: u64,
) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    archive.by_name(name).ok()?.take(limit).read_to_end(&mut content).ok()?;
    Some(content)
}

/// What a pickle holds, by the names of the functions that it calls.
fn pickle(content: &[u8]) -> FileFormat {
    /// Modules whose functions make tensors, containers and numbers.
    const PLAIN: [&str; 5] = ["collections", "torch", "torch._utils", "torch.storage", "numpy"];
    /// Functions by which PyTorch pickles tensors and modules; and its own magic number.
    const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    let modules: Vec<&str> = globals(content).collect();
    let torch = modules.iter().any(|module| module.split('.').next() == Some("torch"))
        || content.get(2..2 + MAGIC.len()) == Some(MAGIC);
    let plain = modules.iter().all(|module| {
        PLAIN.contains(module) || module.starts_with("numpy.") || *module == "torch.nn.parameter"
    });
    // A dictionary may hold more than tensors: settings, or the state of training.
    let dictionary = content.get(2) == Some(&b'}') || modules.first() == Some(&"collections");
    match (torch, plain || dictionary) {
        (true, true) => FileFormat::StateDict,
        (true, false) => FileFormat::PickledModule,
        (false, _) => FileFormat::Pickle,
    }
}

/// The modules of the functions and classes that a pickle of protocol 0 to 3 names.
fn globals(content: &[u8]) -> impl Iterator<Item = &str> {
    let identifier = |line: &[u8]| {
        !line.is_empty()
            && line.len() < 200
            && !line[0].is_ascii_digit()
            && line.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
    };
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += content.get(at..)?.iter().position(|byte| *byte == b'c')? + 1;
            let rest = &content[at..content.len().min(at + 400)];
            let lines: Vec<&[u8]> = rest.splitn(3, |byte| *byte == b'\n').collect();
            if let [module, name, _] = lines[..]
                && identifier(module)
                && identifier(name)
            {
                at += module.len() + name.len() + 2;
                return std::str::from_utf8(module).ok();
            }
        }
    })
}

/// The format of a file that may be a protocol buffer.
fn message(bytes: &Bytes, first: u8) -> FileFormat {
    if !matches!(first, 0x08 | 0x0a | 0x12 | 0x18 | 0x22) {
        return FileFormat::Unknown;
    }
    let mut fields = [None; 101];
    let mut ones = 0;
    let mut start = 0..0;
    let mut reader = Reader::new(bytes);
    let whole = reader.message(reader.everything(), &mut |_, number, value| {
        if let Some(field) = fields.get_mut(number as usize) {
            *field = Some(matches!(value, Value::Span(_)));
        }
        if let (1, Value::Span(span)) = (number, value) {
            ones += 1;
            start = span;
        }
        Ok(())
    });
    let message = |number: usize| fields[number] == Some(true);
    let number = |number: usize| fields[number] == Some(false);
    if whole.is_ok() {
        if message(7) && (number(1) || message(8)) {
            return FileFormat::Onnx;
        }
        if number(1) && message(2) && fields[3..].iter().all(Option::is_none) {
            return FileFormat::SavedModel;
        }
        if message(100) {
            return FileFormat::Caffe;
        }
        if ones == 1 && message(2) && names_version(&mut reader, start) {
            return FileFormat::MetaGraph;
        }
    }
    // A damaged graph is told as one, by its reader.
    let words = whole.is_err() && bytes.start(MIN_TEXT).is_ok_and(|start| text(&start));
    if first == 0x08 || words && bytes.len() >= MIN_TEXT {
        FileFormat::Unknown
    } else {
        FileFormat::Graph
    }
}

/// Whether a message is a `MetaInfoDef`, whose field 5 is the version of TensorFlow: `1.15.0`.
fn names_version(reader: &mut Reader, span: std::ops::Range<u64>) -> bool {
    let mut found = false;
    let read = reader.message(span, &mut |reader, number, value| {
        if let (5, Value::Span(text)) = (number, value)
            && text.end - text.start < 32
        {
            found |= reader.text(text)?.starts_with(|c: char| c.is_ascii_digit());
        }
        Ok(())
    });
    read.is_ok() && found
}
