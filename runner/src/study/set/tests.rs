//! What settings change, and what they say.

use super::*;

const STUDY: &str = r#"name = "toy"
metrics = ["l2", { name = "ssim" }] # how large

[[attacks]]
name = "fgsm"
label = "fgsm_0.1" # one tenth
params = { epsilon = 0.1 }

[[attacks]]
name = "fgsm"
label = "fgsm_0.2"

[[attacks]]
name = "cw_l2"
[attacks.params]
kappa = 1

[data]
source = "fashion-mnist"
"#;

fn with(settings: &[&str]) -> String {
    let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
    apply(STUDY, &settings, &mut []).unwrap().into_owned()
}

fn refusal(setting: &str) -> String {
    format!("{:#}", apply(STUDY, &[setting.to_owned()], &mut []).unwrap_err())
}

/// What a setting changes: the lines that go, and those that come.
fn changed(setting: &str) -> (Vec<String>, Vec<String>) {
    let after = with(&[setting]);
    let missing = |from: &str, to: &str| {
        from.lines()
            .filter(|line| !to.lines().any(|other| other == *line))
            .map(str::to_owned)
            .collect()
    };
    (missing(STUDY, &after), missing(&after, STUDY))
}

#[test]
fn what_is_set_stands_where_it_belongs_and_the_rest_stays() {
    for (setting, gone, come) in [
        ("seed=7", &[][..], &["seed = 7"][..]),
        ("name = other", &["name = \"toy\""], &["name = \"other\""]),
        ("data.images=10", &[], &["images = 10"]),
        ("transfer.policy=resize", &[], &["transfer = { policy = \"resize\" }"]),
        (
            "attack.fgsm_0.1.epsilon=0.3",
            &["params = { epsilon = 0.1 }"],
            &["params = { epsilon = 0.3 }"],
        ),
        (
            "attacks.fgsm_0.1.params.epsilon=0.3",
            &["params = { epsilon = 0.1 }"],
            &["params = { epsilon = 0.3 }"],
        ),
        ("attack.fgsm_0.2.norm=l1", &[], &["params = { norm = \"l1\" }"]),
        ("attack.cw_l2.kappa=20", &["kappa = 1"], &["kappa = 20"]),
        ("attack.cw.kappa=20", &["kappa = 1"], &["kappa = 20"]),
        ("attack.cw.goals=[\"random\"]", &[], &["goals = [\"random\"]"]),
        ("attack.fgsm_0.1.label=", &["label = \"fgsm_0.1\" # one tenth"], &[]),
        (
            "attack.\"fgsm_0.1\".label=f",
            &["label = \"fgsm_0.1\" # one tenth"],
            &["label = \"f\" # one tenth"],
        ),
        (
            "metric.l2.label=far",
            &["metrics = [\"l2\", { name = \"ssim\" }] # how large"],
            &["metrics = [{ name = \"l2\", label = \"far\" }, { name = \"ssim\" }] # how \
               large"],
        ),
        (
            "metrics=[]",
            &["metrics = [\"l2\", { name = \"ssim\" }] # how large"],
            &["metrics = [] # how large"],
        ),
    ] {
        let (went, came) = changed(setting);
        assert_eq!(
            (
                went.iter().map(String::as_str).collect::<Vec<_>>(),
                came.iter().map(String::as_str).collect::<Vec<_>>()
            ),
            (gone.to_vec(), come.to_vec()),
            "{setting}"
        );
    }
    assert_eq!(apply(STUDY, &[], &mut []).unwrap(), STUDY);
    let no_toml = apply("no = = toml", &["seed=1".to_owned()], &mut []);
    assert_eq!(no_toml.unwrap(), "no = = toml");
}

#[test]
fn several_entries_are_set_at_once() {
    for pattern in ["fgsm", "fgsm*", "fgsm_0", "\"fgsm_0.?\""] {
        let text = with(&[&format!("attack.{pattern}.epsilon=0.7")]);
        assert_eq!(text.matches("epsilon = 0.7").count(), 2, "{pattern}: {text}");
    }
    assert_eq!(with(&["attack.*.goals=[\"second\"]"]).matches("goals = [\"second\"]").count(), 3);
}

#[test]
fn settings_reach_members_that_join() {
    let joining = ["ddn", "cw_linf", "cw_linf_plus"];
    let set = |settings: &[&str]| -> Result<(String, Vec<Option<String>>)> {
        let mut joining = joining.map(|name| JoiningEntry::new(MemberKind::Attack, name));
        let settings: Vec<String> = settings.iter().map(|&text| text.to_owned()).collect();
        let text = apply(STUDY, &settings, &mut joining)?.into_owned();
        Ok((text, joining.iter().map(|entry| entry.text(&["random"])).collect()))
    };
    let (text, texts) = set(&["attack.ddn.iterations=50", "attack.dd.label=mine"]).unwrap();
    let ddn = "name = \"ddn\"\nparams = { iterations = 50 }\nlabel = \"mine\"\n\
               goals = [\"random\"]\n";
    assert_eq!((text.as_str(), texts), (STUDY, vec![Some(ddn.to_owned()), None, None]));
    // A pattern sets what the study names and what joins it.
    let (text, texts) = set(&["attack.*.goals=[\"second\"]"]).unwrap();
    assert_eq!(text.matches("goals = [\"second\"]").count(), 3, "{text}");
    assert!(texts.iter().flatten().all(|text| text.ends_with("goals = [\"second\"]\n")));
    assert_eq!(texts.iter().flatten().count(), 3);
    for (setting, expected) in [
        ("attack.cw.kappa=1", "`cw` may mean cw_l2, cw_linf, cw_linf_plus: `cw*` sets all of them"),
        (
            "attack.dnn.iterations=1",
            "the study has no attack `dnn`, did you mean `ddn`?; there are: fgsm_0.1, fgsm_0.2, \
             cw_l2, ddn, cw_linf, cw_linf_plus",
        ),
        (
            "attack.ddn.name=fgsm",
            "`ddn` joins the study by itself, under the name that it is registered by; `label` \
             is its name in tables",
        ),
    ] {
        let error = format!("{:#}", set(&[setting]).unwrap_err());
        assert_eq!(error, format!("--set {setting}: {expected}"));
    }
    let settings = ["attack.ddn.iterations=50", "seed=3"].map(str::to_owned);
    let without = apply_without_members(STUDY, &settings).unwrap();
    assert_eq!(
        without.lines().filter(|line| !STUDY.contains(line)).collect::<Vec<_>>(),
        ["seed = 3"]
    );
}

#[test]
fn a_folder_comes_in_the_place_of_a_source_and_starts_from_here() {
    let here = std::env::current_dir().unwrap();
    let (gone, come) = changed("data.folder=photos");
    assert_eq!(gone, ["source = \"fashion-mnist\""]);
    assert_eq!(come, [format!("folder = \"{}\"", here.join("photos").display())]);
    let back = apply(
        &with(&["data.folder=photos", "data.labels=/l.csv"]),
        &["data.source=eccv2018".to_owned()],
        &mut [],
    )
    .unwrap()
    .into_owned();
    assert!(back.ends_with("[data]\nsource = \"eccv2018\"\n"), "{back}");
}

#[test]
fn a_path_that_leads_nowhere_says_where_it_could() {
    for (setting, expected) in [
        ("seed", "--set seed: PATH=VALUE is expected, such as `--set seed=7`"),
        (
            "attack.cwl2.kappa=1",
            "--set attack.cwl2.kappa=1: the study has no attack `cwl2`, did you mean `cw_l2`?; \
             there are: fgsm_0.1, fgsm_0.2, cw_l2",
        ),
        (
            "attack.cw_l2=1",
            "--set attack.cw_l2=1: what of `cw_l2` is to be set? Such as `--set \
             attack.cw_l2.label=mine`",
        ),
        (
            "model.x.weights=w",
            "--set model.x.weights=w: the study has no `models` of its own, and none join it: name \
             them in it",
        ),
        (
            "attack..kappa=1",
            "--set attack..kappa=1: a key is missing in the path `.kappa`: keys with dots \
             between them are expected",
        ),
        (
            "attack.\"cw.kappa=1",
            "--set attack.\"cw.kappa=1: a quote is not closed in the path `\"cw.kappa`",
        ),
        ("name.x=1", "--set name.x=1: `name` has nothing below it: `x` leads nowhere"),
    ] {
        assert_eq!(refusal(setting), expected);
    }
    let two = STUDY.replace("\"cw_l2\"", "\"fancy\"");
    let error = apply(&two, &["attack.f.kappa=1".to_owned()], &mut []).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "--set attack.f.kappa=1: `f` may mean fgsm_0.1, fgsm_0.2, fancy: `f*` sets all of them"
    );
}
