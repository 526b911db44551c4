//! The page of a made-up study, as text and in a browser.

use super::page::common_prefix;
use super::*;
use crate::analysis::Rate;
use crate::report::figure::escape;
use crate::store::write_atomically;
use crate::summary::EXAMPLES;
use resvg::usvg::roxmltree::{Document, Node, ParsingOptions};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use tempfile::TempDir;

const HOSTILE: &str = "<script>alert('&')</script>";
const FAMILIES: [(&str, usize); 7] = [
    ("AlexNet", 1),
    ("VGG", 2),
    ("Inception", 5),
    ("ResNet", 3),
    ("MobileNet", 3),
    ("DenseNet", 3),
    ("NASNet", 1),
];

fn labels(count: usize) -> Vec<(String, String)> {
    let all = FAMILIES.into_iter().flat_map(|(family, members)| {
        (0..members).map(move |n| (format!("mini_{family}_v{n}"), family.to_owned()))
    });
    let mut labels: Vec<(String, String)> = all.take(count).collect();
    if let Some(last) = labels.last_mut() {
        last.0 = format!("mini_{HOSTILE}");
    }
    labels
}

fn rate(k: usize, n: usize) -> Value {
    serde_json::to_value(Rate::new(k, n)).unwrap()
}

fn estimate(value: f64) -> Value {
    json!({ "value": value, "interval": [0.8 * value, 1.25 * value] })
}

/// A study of `count` models with all that a summary can hold.
#[expect(clippy::too_many_lines, reason = "one document")]
fn summary(count: usize) -> Value {
    let labels = labels(count);
    let names: Vec<&str> = labels.iter().map(|label| label.0.as_str()).collect();
    let goals = ["untargeted", "random"];
    let attacks = [("cw_l2", "l2"), ("ifgsm", "linf")];
    let each = || attacks.iter().flat_map(|&(attack, best)| goals.map(|goal| (attack, best, goal)));
    let strength = |n: usize| 0.5 + 0.07 * (n * 7 % 18) as f64;
    let error = |n: usize| (n * 11 % 18 + 4) as f64 / 82.0;
    let quantiles = |v: f64| json!({ "min": 0.3 * v, "q10": 0.5 * v, "q25": 0.7 * v, "median": v, "q75": 1.5 * v, "q90": 2.0 * v, "max": 3.0 * v });
    let distortion = |n: usize, metric: &str, best: &str| {
        let value = strength(n) * if metric == "linf" { 0.02 } else { 1.0 };
        json!({
            "metric": metric, "mean": estimate(value), "quantiles": quantiles(value), "mean_8bit": value, "median_8bit": null,
            "curve": { "attacked": 40, "distortion": (1..=30).map(|k| value * f64::from(k) / 15.0).collect::<Vec<_>>(), "rank": (1..=30).collect::<Vec<_>>() },
            "gap": { "images": 30, "best": if metric == best { 29 } else { 1 }, "median_ratio": null, "mean_ratio": 1.2 },
        })
    };
    let campaigns: Vec<Value> = (0..count)
        .flat_map(|n| each().map(move |campaign| (n, campaign)))
        .map(|(n, (attack, best, goal))| {
            json!({
                    "model": labels[n].0, "attack": attack, "goal": goal, "missing": 0, "attacked": 40, "found": 35, "invalid": 0,
                    "success": rate(30 + n % 9, 40), "success_8bit": rate(28, 40), "distortions": [distortion(n, "l2", best), distortion(n, "linf", best)],
                    "cost": { "forward_mean": 100.0 + n as f64, "forward_median": 90.0, "backward_mean": 80.0, "backward_median": null },
            })
        })
        .collect();
    let square = |f: &dyn Fn(usize, usize) -> usize| {
        (0..count).map(|a| (0..count).map(|b| f(a, b)).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let counts = || json!({ "k": square(&|a, b| if a == b { 39 } else { (a * 5 + b * 3) % 38 }), "n": square(&|a, b| if a + 1 == b { 0 } else { 40 }) });
    let matrices: Vec<Value> = each()
        .map(|(attack, _, goal)| {
            let mut counts = counts();
            for a in 0..count.saturating_sub(1) {
                counts["k"][a][a + 1] = 0.into();
            }
            json!({
                "attack": attack, "goal": goal, "pixels": "float", "matching": "top1", "denominators": { "all": counts, "target_correct": counts },
                "published": "target_correct", "split": { "unfooled": [], "different_mistake": [], "same_mistake": [] },
            })
        })
        .collect();
    let laws: Vec<Value> = each()
        .flat_map(|(attack, _, goal)| ["l2", "linf"].map(|metric| (attack, goal, metric)))
        .map(|(attack, goal, metric)| {
            let points: Vec<Value> = (0..count)
                .map(|n| {
                    let x = error(n).ln();
                    json!({
                        "model": labels[n].0, "ln_error": x, "ln_error_interval": [x - 0.3, x + 0.3], "distortion": strength(n),
                        "distortion_interval": [0.8 * strength(n), 1.2 * strength(n)], "on_frontier": n % 4 == 0, "membership": 0.1 * (n % 10) as f64,
                    })
                })
                .collect();
            let fit = |subset: &str, slope: f64| {
                let band: Vec<Value> = (0..20)
                    .map(|k| -3.0 + 0.12 * f64::from(k))
                    .map(|x| json!({ "ln_error": x, "line": 1.5 + slope * x, "interval": [1.2 + slope * x, 1.8 + slope * x] }))
                    .collect();
                json!({ "subset": subset, "models": count, "slope": estimate(slope), "slope_interval_t": null, "intercept": estimate(1.5), "r2": estimate(0.7), "band": band })
            };
            json!({ "attack": attack, "goal": goal, "metric": metric, "points": points,
                "fits": [fit("all", 0.2), fit("frontier", 0.3), fit("without_alexnet_and_vgg", 0.1)] })
        })
        .collect();
    let depth: Vec<Value> = (1..count)
        .filter(|&n| labels[n].1 == labels[n - 1].1)
        .map(|n| {
            json!({ "attack": "cw_l2", "goal": "untargeted", "metric": "l2", "family": labels[n].1, "shallow": labels[n - 1].0, "shallow_depth": n,
                "deep": labels[n].0, "deep_depth": n + 3, "images": 30, "ratio": estimate(0.9 + 0.02 * n as f64) })
        })
        .collect();
    let pooled = |k: usize| json!({ "k": k, "n": 100, "rate": estimate(k as f64 / 100.0) });
    let families: Vec<Value> = each()
        .map(|(attack, _, goal)| {
            let sources: Vec<Value> = FAMILIES.iter().map(|(family, _)| json!({ "family": family, "within": pooled(60), "across": pooled(30) })).collect();
            json!({ "attack": attack, "goal": goal, "within": pooled(60), "across": pooled(25), "difference": estimate(0.35), "sources": sources })
        })
        .collect();
    let verdicts: Vec<Value> = ["supported", "not_supported", "undecided"]
        .iter()
        .zip(1..)
        .map(|(finding, claim)| {
            json!({ "claim": claim, "statement": "A claim.", "finding": finding, "rule": "A rule.", "reading": "A reading.",
                "evidence": [{ "what": HOSTILE, "value": estimate(2.0), "finding": finding }] })
        })
        .collect();
    let metric = |label: &str, of_outcomes: bool| json!({ "label": label, "name": label, "origin": "here 1.0.0", "unit": "pixel range", "of_outcomes": of_outcomes, "higher_is_more_robust": true, "extras": [] });
    let models: Vec<Value> = (0..count)
        .map(|n| {
            json!({ "label": names[n], "name": names[n], "family": labels[n].1, "side": 28, "parameters": 1000 * n, "depth": n, "missing": 0,
                "top1": rate(30 + n % 9, 40), "top5": rate(40, 40), "published_top1": null, "published_top5": null, "ln_error": error(n).ln(), "source": HOSTILE })
        })
        .collect();
    let scores: Vec<Value> = (0..count)
        .map(|n| {
            json!({ "metric": "clever_l2", "model": names[n], "goal": "untargeted", "missing": 0, "scored": 40,
                "mean": estimate(0.4 * strength(n)), "quantiles": quantiles(0.4), "extras": {} })
        })
        .collect();
    let flag = |severity: &str, model: &str, attack: Option<&str>| {
        json!({ "flag": "random_beats_gradient", "severity": severity, "model": model, "attack": attack, "goal": attack.map(|_| "untargeted"),
            "against": HOSTILE, "found": rate(3, 40), "compared": rate(20, 40), "p": 1.23e-4, "reading": HOSTILE, "meaning": HOSTILE, "remedy": HOSTILE })
    };
    let flags: Vec<Value> = names
        .iter()
        .step_by(4)
        .flat_map(|name| {
            [
                flag("error", name, Some("cw_l2")),
                flag("warning", name, None),
                flag("note", name, Some("ifgsm")),
            ]
        })
        .chain(
            names
                .last()
                .into_iter()
                .flat_map(|name| (0..5).map(|_| flag("note", name, Some("cw_l2")))),
        )
        .collect();
    let check = |flag: &str, looked_at: usize, raised: usize| json!({ "flag": flag, "looked_at": looked_at, "raised": raised, "meaning": "It means." });
    let findings = json!({ "flags": flags, "checks": [check("random_beats_gradient", 40, flags.len()), check("below_clever", 0, 0)] });
    let example = json!({ "tensor": "0", "attack": "cw_l2", "goal": "random", "model": names.first().copied().unwrap_or_default(), "image": HOSTILE, "label": 1,
        "target_class": 2, "prediction": 2, "success_8bit": false, "distortions": { "l2": 0.5, "linf": null } });
    json!({
        "$schema": "study.schema.json", "format": 1,
        "study": { "name": HOSTILE, "program": "0.1.0", "seed": 1, "images": 40, "classes": 10, "tie_tolerance": 0.0, "transfer": "resize",
            "confidence": 0.95, "resamples": 1000, "skipped": [{ "name": HOSTILE, "reason": "no \
                image" }], "left_out": [] },
        "models": models,
        "attacks": attacks.map(|(attack, _)| json!({ "label": attack, "name": attack, "origin": "here 1.0.0", "parameters": "a = 1\n", "goals": goals })),
        "metrics": [metric("l2", true), metric("linf", true), metric("clever_l2", false)],
        "campaigns": campaigns, "transfer": matrices, "scores": scores, "laws": laws, "depth": depth, "families": families, "verdicts": verdicts,
        "findings": findings, "examples": [example], "missing": [{ "cell": HOSTILE, "reason": null }],
    })
}

fn folder(summary: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_atomically(&folder.path().join(crate::summary::FILE), summary.to_string().as_bytes())
        .unwrap();
    let bytes: Vec<u8> = (0..3 * 8 * 8).flat_map(|n| (n as f32 / 192.0).to_le_bytes()).collect();
    let view = || {
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![3, 8, 8], &bytes)
            .unwrap()
    };
    let pixels =
        safetensors::serialize([("0.original", view()), ("0.adversarial", view())], None).unwrap();
    write_atomically(&folder.path().join(EXAMPLES), &pixels).unwrap();
    folder
}

/// The page as an XML document, without what its script says.
fn xml(html: &str) -> String {
    let (start, rest) = html.rsplit_once("<script>").unwrap();
    let (_, end) = rest.split_once("</script>").unwrap();
    format!("{start}<script></script>{end}")
}

/// Nothing is fetched, and no code runs but the page's own script.
fn check_that_nothing_is_code(document: &Document) {
    let mut ids = BTreeSet::new();
    for node in document.descendants().filter(Node::is_element) {
        for attribute in node.attributes() {
            let value = attribute.value();
            if ["href", "src", "srcset", "action", "data", "poster"].contains(&attribute.name()) {
                assert!(
                    value.starts_with('#') || value.starts_with("data:"),
                    "{}",
                    attribute.value()
                );
            }
            assert!(
                !attribute.name().starts_with("on"),
                "{} is code in an attribute",
                attribute.name()
            );
            assert!(
                attribute.name() != "id" || ids.insert(value.to_owned()),
                "two elements have the id {value}"
            );
        }
        assert!(
            node.tag_name().name() != "img"
                || node.attribute("alt").is_some_and(|alt| !alt.is_empty())
        );
    }
    let count =
        |name: &str| document.descendants().filter(|node| node.tag_name().name() == name).count();
    assert_eq!((count("script"), count("link"), count("iframe")), (1, 0, 0));
}

#[test]
fn the_page_is_well_formed_needs_nothing_else_and_is_the_same_again() {
    let folder = folder(&summary(18));
    let path = write_report(folder.path()).unwrap();
    let html = fs::read_to_string(&path).unwrap();
    let text = xml(&html);
    let document = Document::parse_with_options(
        &text,
        ParsingOptions { allow_dtd: true, ..ParsingOptions::default() },
    )
    .unwrap();
    check_that_nothing_is_code(&document);
    assert!(
        !html.contains("@import")
            && html.matches("url(").count() == html.matches("url(data:").count()
    );
    assert!(!html.contains("<script>alert"), "a name became code");
    assert_eq!(document.root_element().attribute("lang"), Some("en"));

    // Everything that the study has stands on the page and in the folder.
    let sections: Vec<&str> = document
        .descendants()
        .filter(|node| node.has_tag_name("section"))
        .filter_map(|node| node.attribute("id"))
        .collect();
    let expected = "overview flags claims accuracy transfer families law frontier curves scores \
                    depth cost examples missing provenance";
    assert_eq!(sections.join(" "), expected);
    let figures = document.descendants().filter(|node| node.has_tag_name("svg")).count();
    let files = |ending: &str| {
        let entries = fs::read_dir(folder.path().join(FIGURES)).unwrap();
        entries
            .filter(|entry| {
                entry.as_ref().unwrap().path().extension().is_some_and(|found| found == ending)
            })
            .count()
    };
    // Accuracy; four of each of transfer, families, law, frontier and curves; score, depth, and two
    // norms.
    assert_eq!((figures, files("svg"), files("png")), (25, 25, 25));
    assert_eq!(html.matches("data:text/csv").count(), figures);
    assert!(
        html.contains(">VGG_v0</text>"),
        "the beginning that all names have is left out of figures"
    );

    write_report(folder.path()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), html);
}

/// All texts of a document, and names in it.
fn texts(of: &Value, into: &mut BTreeSet<String>) {
    match of {
        Value::String(text) => drop(into.insert(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Object(members) => members.values().for_each(|value| texts(value, into)),
        _ => {}
    }
}

/// The document with another text wherever one stands, also as a name.
fn with_another(of: &Value, text: &str, by: &str) -> Value {
    let other = |found: &String| if found == text { by.to_owned() } else { found.clone() };
    match of {
        Value::String(found) => Value::String(other(found)),
        Value::Array(items) => items.iter().map(|item| with_another(item, text, by)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (other(name), with_another(value, text, by)))
            .collect(),
        value => value.clone(),
    }
}

#[test]
fn no_text_of_a_summary_becomes_code_or_another_folder_s_file() {
    const CODE: &str = "\"'>]]></style></script></title><img src=x onerror=alert(1)>&{}\\/../../x";
    let mut summary = summary(3);
    let mut all = BTreeSet::new();
    texts(&summary, &mut all);
    all.remove("0"); // names the pixels in a file that is not changed
    let mut hostile = Vec::new();
    for text in all {
        let changed = with_another(&summary, &text, &format!("{text}{CODE}"));
        // What is no text but one of some words is refused.
        if serde_json::from_value::<Summary>(changed.clone()).is_ok() {
            summary = changed;
            hostile.push(text);
        }
    }
    for text in ["cw_l2", "l2", "here 1.0.0", "AlexNet", HOSTILE] {
        assert!(hostile.iter().any(|found| found == text), "{text} is not among {hostile:?}");
    }
    let folder = folder(&summary);
    let html = fs::read_to_string(write_report(folder.path()).unwrap()).unwrap();
    let text = xml(&html);
    check_that_nothing_is_code(
        &Document::parse_with_options(
            &text,
            ParsingOptions { allow_dtd: true, ..ParsingOptions::default() },
        )
        .unwrap(),
    );
    assert!(!html.contains("<img src=x"));
    let found = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(
        found.collect::<BTreeSet<_>>(),
        ["examples.safetensors", "figures", "report.html", "study.json"].map(String::from).into()
    );
}

#[test]
fn what_a_study_lacks_is_said() {
    let mut summary = summary(1);
    for name in [
        "attacks",
        "metrics",
        "campaigns",
        "transfer",
        "scores",
        "laws",
        "depth",
        "families",
        "verdicts",
        "examples",
        "missing",
    ] {
        summary[name] = json!([]);
    }
    // As of a program that did not know flags.
    summary.as_object_mut().unwrap().remove("findings");
    let folder = folder(&summary);
    let html = fs::read_to_string(write_report(folder.path()).unwrap()).unwrap();
    Document::parse_with_options(
        &xml(&html),
        ParsingOptions { allow_dtd: true, ..ParsingOptions::default() },
    )
    .unwrap();
    assert_eq!(
        html.matches("<p class=\"none\">").count(),
        9,
        "flags, transfer, families, law, frontier, curves, scores, depth, examples"
    );
}

#[test]
fn flags_stand_by_model_with_their_remedy_or_what_was_looked_for() {
    let flagged = folder(&summary(18));
    let html = fs::read_to_string(write_report(flagged.path()).unwrap()).unwrap();
    assert!(html.contains("<summary>mini_AlexNet_v0: 1 error, 1 warning, 1 note</summary>"));
    assert!(html.contains("<li>20 flags on 6 models: see which numbers they are about.</li>"));
    let escaped = escape(HOSTILE);
    assert!(html.contains(&format!(
        "<strong>random_beats_gradient</strong> of cw_l2 (untargeted): {escaped} (p = 1.2e-4, \
         corrected).</p>\
         <p class=\"about\">{escaped} {escaped}</p>"
    )));
    assert!(html.contains(
        "comparisons: random_beats_gradient (40). The study has nothing to see \
         these by: below_clever."
    ));

    let mut sound = summary(2);
    sound["findings"]["flags"] = json!([]);
    let sound = folder(&sound);
    let html = fs::read_to_string(write_report(sound.path()).unwrap()).unwrap();
    assert!(
        html.contains("<p>No sign of a broken model, masked gradients or a weak attack.</p>")
            && !html.contains(" flags on ")
    );
}

#[test]
fn a_folder_without_results_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    let error = format!("{:#}", write_report(empty.path()).unwrap_err());
    assert!(error.contains("a results' folder is expected, as `runner run` leaves it"), "{error}");
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[test]
fn names_lose_what_all_begin_with() {
    let prefix = |names: &[&str]| common_prefix(names.iter().copied());
    assert_eq!(prefix(&["mini_vgg_16", "mini_resnet_v2_50"]), 5);
    assert_eq!(prefix(&["mini_vgg_16", "mini_vgg_19"]), 9);
    assert_eq!(prefix(&["mini_vgg_16"]), 0);
    assert_eq!(prefix(&["vgg_16", "mini_vgg_16"]), 0);
    assert_eq!(prefix(&["a_", "a_b"]), 0, "no name becomes empty");
}

/// What a reader does, as a script that ends by writing what it saw into the page.
const READER: &str = r##"<script>
const seen = {};
const at = (mark) => { const b = mark.getBoundingClientRect(); return { clientX: b.x + b.width / 2, clientY: b.y + b.height / 2, bubbles: true }; };
const tip = document.getElementById("tip");
const cell = document.querySelector('#transfer figure.chosen [data-row="2"][data-column="5"]');
cell.querySelector("rect").dispatchEvent(new PointerEvent("pointermove", at(cell)));
seen.hover = !tip.hidden && tip.textContent;
cell.closest("svg").dispatchEvent(new PointerEvent("pointerleave"));
seen.left = tip.hidden;
const svg = cell.closest("svg");
const key = (key) => svg.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
key("ArrowRight"); key("ArrowDown"); key("ArrowRight");
seen.keys = tip.textContent.split(":")[0];
const table = document.querySelectorAll("#cost table")[1];
const head = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === "forward");
const column = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[head].dataset.value));
const sorted = (sign) => column().every((v, n, all) => !n || sign * (v - all[n - 1]) >= 0);
table.tHead.rows[0].cells[head].querySelector("button").click();
seen.ascending = sorted(1) && column()[0] < column().at(-1);
table.tHead.rows[0].cells[head].querySelector("button").click();
seen.descending = sorted(-1) && table.tHead.rows[0].cells[head].getAttribute("aria-sort");
const select = document.querySelector("#transfer select");
select.selectedIndex = 2;
select.dispatchEvent(new Event("change"));
const visible = [...document.querySelectorAll("#transfer figure")].filter((figure) => figure.offsetParent);
seen.chosen = visible.length === 1 && visible[0].querySelector("h3").textContent;
const ground = () => getComputedStyle(document.body).backgroundColor;
const before = ground();
document.getElementById("theme").click();
seen.theme = before !== ground();
let file = null;
const url = URL.createObjectURL;
URL.createObjectURL = (blob) => { file = blob; return url(blob); };
HTMLAnchorElement.prototype.click = () => {};
visible[0].querySelector("button.svg").click();
seen.svg = file.type;
seen.fits = document.documentElement.scrollWidth <= innerWidth;
const result = document.createElement("pre");
result.id = "seen";
result.textContent = JSON.stringify(seen);
document.body.append(result);
</script>"##;

#[test]
fn a_reader_hovers_sorts_chooses_and_takes_figures_along() {
    let Some(browser) =
        ["chromium", "chromium-browser", "google-chrome", "chrome"].into_iter().find(|name| {
            Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
        })
    else {
        println!("skipped: no Chromium is installed (Debian: apt-get install chromium)");
        return;
    };
    let folder = folder(&summary(18));
    let html = fs::read_to_string(write_report(folder.path()).unwrap()).unwrap();
    let page = folder.path().join("read.html");
    fs::write(&page, html.replace("</body>", &format!("{READER}</body>"))).unwrap();
    for size in ["1366,768", "500,844"] {
        let output = Command::new(browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
            ])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
                "--virtual-time-budget=2000",
                "--dump-dom",
            ])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .arg(format!("--window-size={size}"))
            .arg(format!("file://{}", page.display()))
            .output()
            .unwrap();
        let dom = String::from_utf8_lossy(&output.stdout);
        let seen =
            dom.rsplit_once("<pre id=\"seen\">").and_then(|(_, rest)| rest.split_once("</pre>"));
        let Some((seen, _)) = seen else {
            panic!("the page's script did not end: {}", String::from_utf8_lossy(&output.stderr))
        };
        let seen: Value = serde_json::from_str(
            &seen.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"),
        )
        .unwrap();
        let hover = seen["hover"].as_str().unwrap_or_default();
        assert!(
            hover.starts_with(
                "mini_VGG_v1 → mini_Inception_v2: 62.5 % (25 of 40; 95 % interval \
                 47.0 to 75.8 %); of all images: 25 of 40"
            ),
            "{seen}"
        );
        let expected = json!({ "hover": hover, "left": true, "keys": "mini_VGG_v0 → mini_VGG_v0", "ascending": true, "descending": "descending",
            "chosen": "ifgsm, untargeted", "theme": true, "svg": "image/svg+xml", "fits": true });
        assert_eq!(seen, expected, "at {size}");
    }
}
