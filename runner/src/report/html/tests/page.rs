//! The page as text: what stands on it, and that nothing on it becomes code.

use super::made_up::{HOSTILE, folder, summary};
use crate::report::figure::escape;
use crate::report::html::view::common_prefix;
use crate::report::html::{FIGURES, write_report};
use crate::summary::Summary;
use resvg::usvg::roxmltree::{Document, Node, ParsingOptions};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;

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
    let expected = "overview flags claims accuracy robustness transfer families law frontier curves scores \
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
    // Accuracy; robustness; four of each of transfer, families, law, frontier and curves; score, depth, and two
    // norms.
    assert_eq!((figures, files("svg"), files("png")), (26, 26, 26));
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
    // Programs that did not know flags left no findings.
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
        "comparisons: random_beats_gradient (40). The study has no data for these checks: \
         below_clever."
    ));

    let mut sound = summary(2);
    sound["findings"]["flags"] = json!([]);
    let sound = folder(&sound);
    let html = fs::read_to_string(write_report(sound.path()).unwrap()).unwrap();
    assert!(
        html.contains(
            "<p>No sign of wrong inputs, a broken model, masked gradients or a weak attack.</p>"
        ) && !html.contains(" flags on ")
    );
}

#[test]
fn flags_of_the_study_stand_first() {
    let mut flagged = summary(2);
    let mut flag = flagged["findings"]["flags"][0].clone();
    flag["model"] = json!(null);
    flag["attack"] = json!("cw_l2");
    flag["goal"] = json!(null);
    flag["severity"] = json!("error");
    flag["remedy"] = json!("Say `first_label = 1`, not `<0>`.");
    flagged["findings"]["flags"] = json!([flag]);
    let flagged = folder(&flagged);
    let html = fs::read_to_string(write_report(flagged.path()).unwrap()).unwrap();
    assert!(html.contains("<summary>The study: 1 error</summary>"));
    assert!(html.contains("</strong> of cw_l2: "), "an attack whatever its goal");
    assert!(html.contains("Say <code>first_label = 1</code>, not <code>&lt;0&gt;</code>.</p>"));
    assert!(html.contains("<li>1 flag: see which numbers it is about.</li>"));
}

#[test]
fn a_metric_of_a_plugin_has_figures_and_its_unit_beside_the_norms() {
    let mut study = summary(3);
    let mine = |value: &Value, key: &str| {
        let mut mine = value.clone();
        mine[key] = json!("mine");
        mine
    };
    let mut metric = mine(&study["metrics"][0], "label");
    metric["name"] = json!("mine");
    metric["unit"] = json!("bits");
    study["metrics"].as_array_mut().unwrap().push(metric);
    for campaign in study["campaigns"].as_array_mut().unwrap() {
        let distortion = mine(&campaign["distortions"][0], "metric");
        campaign["distortions"].as_array_mut().unwrap().push(distortion);
    }
    let of_l2 = |law: &&Value| law["metric"] == "l2";
    let laws: Vec<Value> = (study["laws"].as_array().unwrap().iter().filter(of_l2))
        .map(|law| mine(law, "metric"))
        .collect();
    assert!(!laws.is_empty());
    study["laws"].as_array_mut().unwrap().extend(laws);
    let study = folder(&study);
    let html = fs::read_to_string(write_report(study.path()).unwrap()).unwrap();
    for kind in ["curves", "law", "frontier"] {
        for metric in ["l2", "mine"] {
            let file = study.path().join(format!("{FIGURES}/{kind}-cw_l2-untargeted-{metric}.svg"));
            let figure = fs::read_to_string(&file).unwrap_or_default();
            assert!(!figure.is_empty(), "{}", file.display());
            assert!(metric == "l2" || figure.contains("bits"), "{kind}: no unit on the axis");
        }
    }
    assert!(html.contains("mean mine (bits)") && html.contains("mean l2 (pixel range)"));
}

#[test]
fn what_is_left_out_is_listed() {
    let mut study = summary(2);
    study["campaigns"][0]["invalid"] = json!(7);
    study["scores"][0]["invalid"] = json!(3);
    study["scores"][0]["scored"] = json!(37);
    let study = folder(&study);
    let html = fs::read_to_string(write_report(study.path()).unwrap()).unwrap();
    assert!(html.contains(": 7 of 40 answers are no images, and count as failures</li>"));
    assert!(html.contains(": on 3 of 40 images the score, or a number that comes with it,"));
    assert!(html.contains(">invalid</th>"), "a column of the table of attacks");
}

#[test]
fn a_folder_without_results_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    let error = format!("{:#}", write_report(empty.path()).unwrap_err());
    assert!(error.contains("a results folder is expected, as `runner run` leaves it"), "{error}");
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
