//! The page in a headless Chromium: its script at work.

use super::made_up::{folder, summary};
use crate::report::html::write_report;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// What a reader does, as a script that ends by writing what it saw into the page.
const READER: &str = r##"<script>
const seen = {};
const at = (mark) => {
  const b = mark.getBoundingClientRect();
  return { clientX: b.x + b.width / 2, clientY: b.y + b.height / 2, bubbles: true };
};
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
const all = [...document.querySelectorAll("#transfer figure")];
const visible = all.filter((figure) => figure.offsetParent);
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
        // Chromium may end without a page where memory is short: three tries.
        let mut complaints = String::new();
        let seen = (0..3).find_map(|_| {
            let output = look(browser, folder.path(), &page, size);
            complaints = String::from_utf8_lossy(&output.stderr).into_owned();
            let dom = String::from_utf8_lossy(&output.stdout);
            let (_, rest) = dom.rsplit_once("<pre id=\"seen\">")?;
            Some(rest.split_once("</pre>")?.0.to_owned())
        });
        let Some(seen) = seen else { panic!("the page's script did not end: {complaints}") };
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
        let expected = json!({
            "hover": hover, "left": true, "keys": "mini_VGG_v0 → mini_VGG_v0", "ascending": true,
            "descending": "descending", "chosen": "ifgsm, untargeted", "theme": true,
            "svg": "image/svg+xml", "fits": true,
        });
        assert_eq!(seen, expected, "at {size}");
    }
}

/// Opens the page in a window of a size, and prints it once its script has run.
fn look(browser: &str, folder: &Path, page: &Path, size: &str) -> Output {
    Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--virtual-time-budget=2000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("--window-size={size}"))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap()
}
