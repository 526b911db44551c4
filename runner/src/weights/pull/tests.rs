//! Downloads from a small HTTP server that misbehaves as it is told to.

use super::*;
use crate::weights::progress::SilentDownload;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use tar::{EntryType, Header};
use url::Url;

/// What a server does with one connection.
#[derive(Clone, Copy)]
enum Manner {
    /// Answers ranges.
    Good,
    /// Sends the whole file whatever is asked for.
    WithoutRanges,
    /// Closes the connection after this number of bytes of the body.
    Until(usize),
    /// Answers with this status and no body.
    Status(&'static str),
    /// Claims that the file has this number of bytes.
    Claims(usize),
}

/// A server of one file. `requests` are the first lines and the ranges of what it was asked.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Connections are treated in turn; the last manner stays.
    fn start(content: &[u8], manners: &[Manner]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (content, manners, log) = (content.to_vec(), manners.to_vec(), Arc::clone(&requests));
        thread::spawn(move || {
            for (n, stream) in listener.incoming().enumerate() {
                let manner = manners[n.min(manners.len() - 1)];
                // A client may hang up in the middle.
                let _ = serve(stream.unwrap(), &content, manner, &log);
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn settings(&self) -> DownloadSettings {
        DownloadSettings {
            mirror: Some(format!("{}/mirror/", self.address)),
            ..DownloadSettings::default()
        }
    }
}

fn serve(
    stream: TcpStream,
    content: &[u8],
    manner: Manner,
    log: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut asked = lines.next().unwrap()?;
    let mut from = 0;
    for line in lines {
        let line = line?.to_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            asked.extend([" ", range]);
            from = range.trim_end_matches('-').parse().unwrap();
        }
        if line.starts_with("proxy-authorization:") {
            asked.extend([" ", &line]);
        }
        if line.is_empty() {
            break;
        }
    }
    log.lock().unwrap().push(asked);
    let mut stream = stream;
    let whole = content.len();
    let (head, body) = match manner {
        Manner::Status(status) => {
            (format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"), &content[..0])
        }
        Manner::Claims(length) => {
            (format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"), &content[..0])
        }
        Manner::Good | Manner::Until(_) if from > 0 => {
            let (left, last) = (whole - from, whole - 1);
            let range =
                format!("Content-Range: bytes {from}-{last}/{whole}\r\nContent-Length: {left}");
            (format!("HTTP/1.1 206 Partial Content\r\n{range}\r\n\r\n"), &content[from..])
        }
        Manner::Good | Manner::Until(_) | Manner::WithoutRanges => {
            (format!("HTTP/1.1 200 OK\r\nContent-Length: {whole}\r\n\r\n"), content)
        }
    };
    stream.write_all(head.as_bytes())?;
    match manner {
        Manner::Until(count) => stream.write_all(&body[..count]),
        _ => stream.write_all(body),
    }
}

/// An archive of the given entries: path, type, content.
fn pack(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::none()));
    for (path, kind, content) in entries {
        let mut header = Header::new_gnu();
        // As bytes: the builder itself refuses paths that lead out.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        if *kind == EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

const MEMBERS: [Member; 2] = [
    Member { model: "alpha", file: "alpha_frozen.pb", licence: "" },
    Member { model: "beta", file: "frozen_beta.pb", licence: "" },
];

fn archive(content: &[u8]) -> Archive {
    let sha256 = hexadecimal(&Sha256::digest(content)).leak();
    // Nobody answers at the publisher's own address.
    Archive {
        name: "toys",
        base: "http://127.0.0.1:1/",
        file: "toys.tar.gz",
        size: content.len() as u64,
        sha256,
        members: &MEMBERS,
    }
}

fn alpha() -> Vec<u8> {
    (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// The usual content.
fn toys() -> Vec<u8> {
    let alpha = alpha();
    pack(&[
        ("models/", EntryType::Directory, &[]),
        ("models/readme.txt", EntryType::Regular, b"hello"),
        ("models/alpha_frozen.pb", EntryType::Regular, &alpha),
        ("models/frozen_beta.pb", EntryType::Regular, b"beta"),
    ])
}

/// Names of what is in a folder, sorted, but for what is always there.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names.retain(|name| name != ".lock");
    names
}

fn refusal(archive: &Archive, folder: &Path, settings: &DownloadSettings) -> String {
    format!("{:#}", pull(archive, &[], folder, settings, &SilentDownload).unwrap_err())
}

#[test]
fn all_members_come_and_nothing_else_stays() {
    let content = toys();
    let server = Server::start(&content, &[Manner::Good]);
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("new/weights");
    let pulled =
        pull(&archive(&content), &[], &folder, &server.settings(), &SilentDownload).unwrap();
    assert_eq!(
        pulled.taken,
        [("alpha", folder.join("alpha.pb")), ("beta", folder.join("beta.pb"))]
    );
    assert_eq!(names(&folder), ["SHA256SUMS", "alpha.pb", "beta.pb"]);
    assert_eq!(fs::read(folder.join("alpha.pb")).unwrap(), alpha());
    let sums = format!(
        "{}  alpha.pb\n{}  beta.pb\n",
        hexadecimal(&Sha256::digest(alpha())),
        hexadecimal(&Sha256::digest("beta"))
    );
    assert_eq!(fs::read_to_string(folder.join("SHA256SUMS")).unwrap(), sums);
    assert_eq!(server.requests(), ["GET /mirror/toys.tar.gz HTTP/1.1"]);
    // The second pull has nothing to do and asks no server.
    let again =
        pull(&archive(&content), &[], &folder, &server.settings(), &SilentDownload).unwrap();
    assert!(again.taken.is_empty() && again.there.len() == 2 && server.requests().len() == 1);
}

#[test]
fn an_archive_stays_until_nothing_is_left_in_it() {
    let content = toys();
    let server = Server::start(&content, &[Manner::Good]);
    let folder = tempfile::tempdir().unwrap();
    let pulled =
        pull(&archive(&content), &["beta"], folder.path(), &server.settings(), &SilentDownload)
            .unwrap();
    assert_eq!((pulled.taken.len(), pulled.kept), (1, Some(folder.path().join("toys.tar.gz"))));
    assert_eq!(names(folder.path()), ["SHA256SUMS", "beta.pb", "toys.tar.gz"]);
    // The second model needs no network any more.
    let pulled = pull(
        &archive(&content),
        &["alpha"],
        folder.path(),
        &DownloadSettings::default(),
        &SilentDownload,
    )
    .unwrap();
    assert_eq!((pulled.taken.len(), pulled.kept, server.requests().len()), (1, None, 1));
    assert_eq!(names(folder.path()), ["SHA256SUMS", "alpha.pb", "beta.pb"]);
    let error = pull(
        &archive(&content),
        &["gamma"],
        folder.path(),
        &DownloadSettings::default(),
        &SilentDownload,
    )
    .unwrap_err()
    .to_string();
    assert_eq!(error, "the archive `toys` has no weights of `gamma`");
}

#[test]
fn a_download_goes_on_where_it_was_stopped() {
    let content = toys();
    let folder = tempfile::tempdir().unwrap();
    // Stopped by a connection that breaks, three times; within one call.
    let server = Server::start(
        &content,
        &[Manner::Until(100_000), Manner::Until(0), Manner::Until(50_000), Manner::Good],
    );
    pull(&archive(&content), &[], folder.path(), &server.settings(), &SilentDownload).unwrap();
    let ranges: Vec<String> = server
        .requests()
        .iter()
        .map(|line| line.split("HTTP/1.1").nth(1).unwrap().trim().to_owned())
        .collect();
    assert_eq!(ranges, ["", "100000-", "100000-", "150000-"]);
    assert_eq!(fs::read(folder.path().join("alpha.pb")).unwrap(), alpha());
    // A new program reads the partial file again, for its hash.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("toys.tar.gz.part"), &content[..1234]).unwrap();
    let server = Server::start(&content, &[Manner::Good]);
    pull(&archive(&content), &[], folder.path(), &server.settings(), &SilentDownload).unwrap();
    assert_eq!(server.requests(), ["GET /mirror/toys.tar.gz HTTP/1.1 1234-"]);
    assert_eq!(names(folder.path()), ["SHA256SUMS", "alpha.pb", "beta.pb"]);
}

#[test]
fn a_server_without_ranges_begins_again() {
    let content = toys();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("toys.tar.gz.part"), &content[..1234]).unwrap();
    let server = Server::start(&content, &[Manner::WithoutRanges]);
    pull(&archive(&content), &[], folder.path(), &server.settings(), &SilentDownload).unwrap();
    assert_eq!(fs::read(folder.path().join("alpha.pb")).unwrap(), alpha());
}

#[test]
fn a_file_that_was_brought_by_hand_needs_no_network() {
    let content = toys();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("toys.tar.gz"), &content).unwrap();
    pull(&archive(&content), &[], folder.path(), &DownloadSettings::default(), &SilentDownload)
        .unwrap();
    assert_eq!(names(folder.path()), ["SHA256SUMS", "alpha.pb", "beta.pb"]);
}

#[test]
fn another_file_than_expected_is_refused_and_removed() {
    let content = toys();
    let mut other = content.clone();
    *other.last_mut().unwrap() ^= 1;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&other, &[Manner::Good]);
    let error = refusal(&archive(&content), folder.path(), &server.settings());
    let sums = [&other, &content].map(|content| hexadecimal(&Sha256::digest(content)));
    assert!(
        error.contains(&format!(
            "its sha256 is {}, not {}. It is removed; try again",
            sums[0], sums[1]
        )),
        "{error}"
    );
    assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
    let server = Server::start(&content[1..], &[Manner::Good]);
    let error = refusal(&archive(&content), folder.path(), &server.settings());
    assert!(
        error.contains(&format!(
            "the server has another file there: of {} bytes, not {}. ",
            content.len() - 1,
            content.len()
        )),
        "{error}"
    );
}

#[test]
fn what_has_come_is_kept_when_a_download_cannot_go_on() {
    let content = toys();
    let folder = tempfile::tempdir().unwrap();
    for (manners, expected) in [
        (&[Manner::Until(1000), Manner::Until(0)][..], "the connection ended early"),
        (&[Manner::Until(1000), Manner::Status("503 Busy")], "the server says 503"),
        (&[Manner::Until(1000), Manner::Status("404 Not Found")], "the server says 404"),
        (&[Manner::Until(1000), Manner::Status("416 No")], "the server has a shorter file there"),
        (
            &[Manner::Until(1000), Manner::Claims(7)],
            "the server has another file there: of 7 bytes",
        ),
    ] {
        let _ = fs::remove_file(folder.path().join("toys.tar.gz.part"));
        let server = Server::start(&content, manners);
        let error = refusal(&archive(&content), folder.path(), &server.settings());
        assert!(
            error.contains("/mirror/toys.tar.gz could not be fetched: ")
                && error.contains(". 1000 of ")
                && error.contains(expected),
            "{error}"
        );
        assert!(error.contains("the same command goes on from there"), "{error}");
        assert_eq!(fs::read(folder.path().join("toys.tar.gz.part")).unwrap(), content[..1000]);
    }
}

#[test]
fn without_a_network_the_ways_out_are_named() {
    let content = toys();
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens at the publisher's address.
    let error = refusal(&archive(&content), folder.path(), &DownloadSettings::default());
    for part in [
        "http://127.0.0.1:1/toys.tar.gz could not be fetched: no answer",
        "Behind a proxy, set HTTP_PROXY",
        "name a mirror with `--mirror URL` or GAUNTLET_MIRROR",
        &format!("put it at {}", folder.path().join("toys.tar.gz").display()),
        "Connection refused",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!folder.path().join("toys.tar.gz.part").exists(), "nothing has come, nothing is left");
}

#[test]
fn proxies_are_asked_for_the_whole_address() {
    let content = toys();
    let proxy = Server::start(&content, &[Manner::Good]);
    let through = |url: &str| DownloadSettings {
        proxies: [Some(Url::parse(url).unwrap()), None],
        ..DownloadSettings::default()
    };
    let folder = tempfile::tempdir().unwrap();
    pull(&archive(&content), &[], folder.path(), &through(&proxy.address), &SilentDownload)
        .unwrap();
    assert_eq!(proxy.requests(), ["GET http://127.0.0.1:1/toys.tar.gz HTTP/1.1"]);
    let folder = tempfile::tempdir().unwrap();
    let named = proxy.address.replace("http://", "http://user:secret@");
    pull(&archive(&content), &[], folder.path(), &through(&named), &SilentDownload).unwrap();
    assert!(
        proxy.requests()[1].ends_with(" proxy-authorization: basic dxnlcjpzzwnyzxq="),
        "{:?}",
        proxy.requests()
    );
    // Hosts in `no_proxy` are asked without the proxy; nobody answers there.
    let folder = tempfile::tempdir().unwrap();
    let direct = DownloadSettings { no_proxy: vec!["127.0.0.1".into()], ..through(&proxy.address) };
    assert!(refusal(&archive(&content), folder.path(), &direct).contains("Connection refused"));
    let gone = refusal(&archive(&content), folder.path(), &through("http://127.0.0.1:1"));
    assert!(gone.contains("no answer through the proxy 127.0.0.1:1"), "{gone}");
}

#[test]
fn members_that_lead_elsewhere_or_are_no_files_are_not_unpacked() {
    let place = tempfile::tempdir().unwrap();
    let try_with = |name: &str, entries: &[(&str, EntryType, &[u8])]| {
        let content = pack(entries);
        let folder = place.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("toys.tar.gz"), &content).unwrap();
        let done =
            pull(&archive(&content), &[], &folder, &DownloadSettings::default(), &SilentDownload);
        (
            done.map(|pulled| pulled.taken.len()).map_err(|error| format!("{error:#}")),
            names(&folder),
        )
    };
    // A path is no more than a name: what is taken lies in the folder.
    let (done, there) = try_with(
        "out",
        &[
            ("../../alpha_frozen.pb", EntryType::Regular, b"a"),
            ("/tmp/frozen_beta.pb", EntryType::Regular, b"b"),
            ("../evil", EntryType::Regular, b"e"),
        ],
    );
    assert_eq!((done, there.join(" ")), (Ok(2), "SHA256SUMS alpha.pb beta.pb".into()));
    assert_eq!(names(place.path()), ["out"]);
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Directory, EntryType::Fifo] {
        let (done, there) = try_with(
            "link",
            &[("alpha_frozen.pb", kind, b""), ("frozen_beta.pb", EntryType::Regular, b"b")],
        );
        assert!(done.unwrap_err().ends_with("`alpha_frozen.pb` in it is not a file"));
        assert_eq!(there, ["toys.tar.gz"]);
    }
    let (done, there) = try_with("short", &[("frozen_beta.pb", EntryType::Regular, b"b")]);
    assert!(done.unwrap_err().ends_with("it lacks alpha_frozen.pb"));
    assert_eq!(there, ["SHA256SUMS", "beta.pb", "toys.tar.gz"]);
}

#[test]
fn a_damaged_archive_leaves_nothing_half_written() {
    let whole = toys();
    for content in [&whole[..200_000], b"no archive at all"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("toys.tar.gz"), content).unwrap();
        let error = refusal(&archive(content), folder.path(), &DownloadSettings::default());
        assert!(error.starts_with("archive "), "{error}");
        assert_eq!(names(folder.path()), ["toys.tar.gz"]);
    }
}

#[test]
fn a_folder_that_cannot_be_written_to_is_told() {
    let content = toys();
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("file"), "").unwrap();
    let error = refusal(
        &archive(&content),
        &place.path().join("file/weights"),
        &DownloadSettings::default(),
    );
    assert!(error.contains("cannot be written to; GAUNTLET_HOME chooses another place"), "{error}");
    // `/dev/full` stands for a disk without room.
    let folder = place.path().join("full");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.join("toys.tar.gz.part")).unwrap();
    let server = Server::start(&content, &[Manner::Good]);
    let error = refusal(&archive(&content), &folder, &server.settings());
    assert!(error.contains("No space left on device"), "{error}");
    let huge = Archive { size: u64::MAX / 4, ..archive(&content) };
    let error = refusal(&huge, &place.path().join("small"), &server.settings());
    assert!(error.contains("make room, or set GAUNTLET_HOME"), "{error}");
}

#[test]
fn one_program_at_a_time() {
    let content = toys();
    let folder = tempfile::tempdir().unwrap();
    let _held = WeightsFolder::open(folder.path()).unwrap();
    let error = refusal(&archive(&content), folder.path(), &DownloadSettings::default());
    assert!(error.starts_with("another `runner weights` is changing "), "{error}");
}
