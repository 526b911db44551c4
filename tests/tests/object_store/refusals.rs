//! Stores that cannot be used, and the words that say why.

use crate::{Place, refused, said, stores};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

#[test]
fn wrong_urls_are_refused_before_anything_is_made() {
    let place = Place::new(4, &[]);
    let refuse = |url: &str| {
        refused(
            place.command(&["run", "study.toml", "--out", "out", "--store", url]).output().unwrap(),
        )
    };
    let expected = "`s3://bucket/path` is expected, or a folder's `file:///path`";
    assert_eq!(
        refuse("bucket/path"),
        format!(
            "error: `--store`: `bucket/path` is no URL: {expected}: relative URL without a base\n"
        )
    );
    assert_eq!(
        refuse("gs://bucket/path"),
        format!("error: `--store`: `gs://bucket/path`: {expected}\n")
    );
    let hidden = format!(
        "error: `--store`: the URL has an `@` in it: {expected}, and the environment says who asks \
         (AWS_ACCESS_KEY_ID, …)\n"
    );
    assert_eq!(refuse("s3://me:se/cret@bucket"), hidden);
    let elsewhere = "AWS_ENDPOINT_URL names another server than Amazon's";
    assert_eq!(
        refuse("s3://minio:9000/path"),
        format!(
            "error: `--store`: `s3://minio:9000/path` has more than a bucket and a path: \
             {expected}; {elsewhere}\n"
        )
    );
    let path = place.path("store");
    let local = |url: &str| format!("file://{}/{url}", path.display());
    assert!(!place.path("out").exists());
    said(
        place
            .command(&["run", "study.toml", "--out", "out", "--store", &local("a")])
            .output()
            .unwrap(),
    );
    said(
        place
            .command(&["run", "study.toml", "--out", "out", "--store", &local("a/")])
            .output()
            .unwrap(),
    );
    let error = refuse(&local("b"));
    assert!(
        error.contains(&format!(
            "the cells of out are in {}, not in {}: choose another folder",
            local("a"),
            local("b")
        )),
        "{error}"
    );
    fs::write(place.path("out/store.toml"), "uri = 1").unwrap();
    let error = refused(place.command(&["run", "study.toml", "--out", "out"]).output().unwrap());
    assert!(
        error.starts_with("error: out/store.toml, which names the object store of the cells: "),
        "{error}"
    );
    // No server listens on this port.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command =
        place.command(&["run", "study.toml", "--out", "far", "--store", "s3://bucket/path"]);
    command
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
        .env("AWS_ALLOW_HTTP", "true");
    let error = refused(
        command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b").output().unwrap(),
    );
    assert!(
        error.contains("error: `--store`: the object store s3://bucket/path cannot be listed: "),
        "{error}"
    );
    assert!(!place.path("far").exists(), "a store that may be a mistake is not noted in a folder");
}

/// The port of a new server that gives every client the same answer, or never any.
fn stranger(answer: Option<&'static str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let Some(answer) = answer else {
                silent.push(stream);
                continue;
            };
            let _ = (stream.read(&mut [0; 4096]), stream.write_all(answer.as_bytes()));
        }
    });
    port
}

#[test]
fn servers_that_refuse_or_never_answer_are_reported_in_time() {
    let place = Place::new(4, &[]);
    let refuse = |answer| {
        let mut command =
            place.command(&["run", "study.toml", "--out", "out", "--store", "s3://bucket/path"]);
        command
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", stranger(answer)))
            .env("AWS_ALLOW_HTTP", "true");
        command
            .env("AWS_ACCESS_KEY_ID", "a")
            .env("AWS_SECRET_ACCESS_KEY", "b")
            .env("AWS_TIMEOUT", "1s");
        let start = Instant::now();
        let error = refused(command.output().unwrap());
        // Two further tries, of a second each. The patience of a run would be three minutes.
        assert!(start.elapsed() < Duration::from_mins(2), "{:?}", start.elapsed());
        assert!(!place.path("out").exists());
        error
    };
    let cannot = "error: `--store`: the object store s3://bucket/path cannot be listed: ";
    let forbidden =
        refuse(Some("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    assert!(
        forbidden.starts_with(&format!(
            "{cannot}whoever asks may not (to list, read and write is needed): "
        )),
        "{forbidden}"
    );
    let garbage =
        refuse(Some("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"));
    assert!(garbage.starts_with(cannot), "{garbage}");
    let silence = refuse(None);
    assert!(
        silence.starts_with(&format!("{cannot}nobody answers in time (AWS_TIMEOUT): ")),
        "{silence}"
    );
}

#[test]
fn a_missing_bucket_is_reported() {
    for place in stores(4, &[]).into_iter().filter(|place| place.server.is_some()) {
        let error = refused(
            place
                .command(&["run", "study.toml", "--out", "out", "--store", "s3://nobody-s/path"])
                .output()
                .unwrap(),
        );
        let expected = "error: `--store`: the object store s3://nobody-s/path cannot be listed: \
                        there is no such bucket: ";
        assert!(error.starts_with(expected), "{error}");
        assert!(!place.path("out").exists());
    }
}
