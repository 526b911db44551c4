//! The modules of a crate and what each of them names, read from its source files.
//!
//! Test modules (`#[cfg(test)]`) are left out. A name is followed through re-exports and `use`
//! lines to the module that defines it, so that a facade hides nothing.

use crate::Tree;
use crate::tokens;
use std::collections::BTreeMap;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree, Visibility};

/// Index of the crate's root in [`Crate::modules`].
pub const ROOT: usize = 0;

/// A chain of `use` lines longer than this is taken for a circle.
const LONGEST_CHAIN: usize = 32;

/// A crate of the workspace.
pub struct Crate {
    /// Folder of the crate, as `runner`.
    pub folder: String,
    /// Name in paths, as `gauntlet_runner`.
    pub name: String,
    pub modules: Vec<Module>,
    /// Macros with `#[macro_export]`, which live at the crate's root, and the modules of their
    /// files.
    macros: BTreeMap<String, usize>,
}

/// A module, in a file of its own or inline.
pub struct Module {
    /// Names from the crate's root down, without `crate`.
    pub path: Vec<String>,
    pub file: String,
    parent: usize,
    /// What `crate` means here. The root of the program `main.rs` is not the library's.
    root: usize,
    children: BTreeMap<String, usize>,
    items: Vec<String>,
    pub mentions: Vec<Mention>,
}

/// A path in the text of a module.
#[derive(Clone)]
pub struct Mention {
    pub line: usize,
    pub path: Vec<String>,
    pub kind: Kind,
}

#[derive(Clone, PartialEq)]
pub enum Kind {
    /// A path in a body, a signature or a macro's arguments.
    Body,
    /// `use path as name`; `exported` if others see the name as well.
    Use { name: String, exported: bool },
    /// `use path::*`.
    Glob { exported: bool },
}

/// Where a path leads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Found {
    /// To the module itself.
    Module(usize),
    /// To a name that the module defines.
    Item(usize),
    /// Out of the crate.
    Outside,
    /// To a name that no one of the crate's files spells out; the module should hold it.
    Unknown(usize),
}

impl Found {
    pub fn module(self) -> Option<usize> {
        match self {
            Self::Module(module) | Self::Item(module) | Self::Unknown(module) => Some(module),
            Self::Outside => None,
        }
    }
}

impl Crate {
    /// Reads the crate in `folder` from its `src/lib.rs`, and `src/main.rs` if there is one.
    pub fn read(tree: &Tree, folder: &str, name: &str) -> Result<Self, String> {
        let mut reader = Reader {
            tree,
            current: ROOT,
            error: None,
            found: Self {
                folder: folder.into(),
                name: name.into(),
                modules: Vec::new(),
                macros: BTreeMap::new(),
            },
        };
        reader.file(&format!("{folder}/src/lib.rs"), Vec::new(), ROOT, ROOT);
        let program = format!("{folder}/src/main.rs");
        if tree.contains_key(&program) {
            let root = reader.found.modules.len();
            reader.file(&program, vec!["main".into()], ROOT, root);
        }
        reader.error.map_or(Ok(reader.found), Err)
    }

    /// The top-level module that `module` is in, or none at the crate's root.
    pub fn room(&self, module: usize) -> Option<&str> {
        let module = &self.modules[module];
        if module.file == self.modules[ROOT].file {
            return None;
        }
        Some(&module.path[0])
    }

    /// The top-level modules, each with its file.
    pub fn rooms(&self) -> BTreeMap<&str, &str> {
        let tops = self.modules.iter().filter(|module| module.path.len() == 1);
        tops.filter(|module| module.file != self.modules[ROOT].file)
            .map(|module| (module.path[0].as_str(), module.file.as_str()))
            .collect()
    }

    /// Where `path` leads that is written in `module`. The modules whose `use` lines lead there
    /// are added to `through`.
    pub fn resolve(&self, module: usize, path: &[String], through: &mut Vec<usize>) -> Found {
        self.written(module, path, through, 0)
    }

    /// All that `use path::*` brings when `path` is `module`: what it re-exports.
    pub fn exports(&self, module: usize) -> impl Iterator<Item = &Mention> {
        self.modules[module].mentions.iter().filter(|mention| {
            matches!(mention.kind, Kind::Use { exported: true, .. } | Kind::Glob { exported: true })
        })
    }

    fn written(&self, at: usize, path: &[String], through: &mut Vec<usize>, depth: usize) -> Found {
        let first = path[0].as_str();
        if depth > LONGEST_CHAIN {
            return Found::Outside;
        }
        if first == self.name {
            return self.inside(ROOT, &path[1..], through, depth);
        }
        let module = &self.modules[at];
        let known = matches!(first, "crate" | "self" | "super")
            || module.children.contains_key(first)
            || module.items.iter().any(|item| item == first)
            || module.mentions.iter().any(|mention| mention.binds(first));
        if known { self.inside(at, path, through, depth) } else { Found::Outside }
    }

    fn inside(&self, at: usize, path: &[String], through: &mut Vec<usize>, depth: usize) -> Found {
        let module = &self.modules[at];
        let Some((first, rest)) = path.split_first() else { return Found::Module(at) };
        match first.as_str() {
            "self" => return self.inside(at, rest, through, depth),
            "super" => return self.inside(module.parent, rest, through, depth),
            "crate" => return self.inside(module.root, rest, through, depth),
            _ => {}
        }
        let child = module.children.get(first).copied();
        // A module and a function may have the same name: more after it means the module.
        if let (Some(child), false) = (child, rest.is_empty()) {
            return self.inside(child, rest, through, depth);
        }
        if module.items.contains(first) {
            return Found::Item(at);
        }
        // `use image;` names the crate `image`, and does not lead on.
        let (ends, leads): (Vec<&Mention>, Vec<&Mention>) = module
            .mentions
            .iter()
            .filter(|mention| mention.binds(first))
            .partition(|mention| mention.path == [first.clone()]);
        if let Some(mention) = leads.first() {
            let before = through.len();
            through.push(at);
            let whole = [&mention.path, rest].concat();
            let found = self.written(at, &whole, through, depth + 1);
            let Some(child) = child.filter(|_| found == Found::Outside) else { return found };
            through.truncate(before);
            return Found::Module(child);
        }
        if let Some(child) = child {
            return Found::Module(child);
        }
        if !ends.is_empty() {
            return Found::Outside;
        }
        if at == ROOT
            && let Some(&home) = self.macros.get(first)
        {
            return Found::Item(home);
        }
        let globs = module.mentions.iter().filter(|m| matches!(m.kind, Kind::Glob { .. }));
        for glob in globs.filter(|_| depth < LONGEST_CHAIN) {
            let before = through.len();
            through.push(at);
            let whole = [&glob.path[..], path].concat();
            match self.written(at, &whole, through, depth + 1) {
                Found::Outside | Found::Unknown(_) => through.truncate(before),
                found => return found,
            }
        }
        Found::Unknown(at)
    }
}

impl Mention {
    fn binds(&self, wanted: &str) -> bool {
        matches!(&self.kind, Kind::Use { name, .. } if name == wanted)
    }

    pub fn text(&self) -> String {
        let star = if matches!(self.kind, Kind::Glob { .. }) { "::*" } else { "" };
        self.path.join("::") + star
    }
}

struct Reader<'t> {
    tree: &'t Tree,
    current: usize,
    error: Option<String>,
    found: Crate,
}

impl Reader<'_> {
    fn file(&mut self, file: &str, path: Vec<String>, parent: usize, root: usize) {
        let parsed = match self.tree.get(file) {
            Some(text) => syn::parse_file(text).map_err(|error| {
                format!("{file}:{}: cannot be parsed: {error}", error.span().start().line)
            }),
            None => Err(format!("{file} is missing, which a `mod` line names")),
        };
        match parsed {
            Ok(parsed) => self.module(file, path, parent, root, &parsed.items),
            Err(error) => self.error = self.error.take().or(Some(error)),
        }
    }

    fn module(
        &mut self,
        file: &str,
        path: Vec<String>,
        parent: usize,
        root: usize,
        items: &[Item],
    ) {
        let index = self.found.modules.len();
        if let Some(name) = path.last().filter(|_| index != root) {
            self.found.modules[parent].children.entry(name.clone()).or_insert(index);
        }
        let mut names = Vec::new();
        for item in items.iter().filter(|item| !for_tests(attributes(item))) {
            names.extend(tokens::defined(item));
            if let Item::Macro(item) = item
                && item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"))
            {
                self.found.macros.extend(item.ident.iter().map(|name| (name.to_string(), index)));
            }
        }
        self.found.modules.push(Module {
            path,
            file: file.into(),
            parent,
            root,
            children: BTreeMap::new(),
            items: names,
            mentions: Vec::new(),
        });
        let outer = std::mem::replace(&mut self.current, index);
        for item in items {
            self.visit_item(item);
        }
        self.current = outer;
    }

    /// The folder of the files of `module`'s children.
    fn children_of(&self, module: usize) -> String {
        let Module { file, path, parent, .. } = &self.found.modules[module];
        if module != ROOT && self.found.modules[*parent].file == *file {
            return format!("{}/{}", self.children_of(*parent), path[path.len() - 1]);
        }
        let (folder, name) = file.rsplit_once('/').expect("a file is in a folder");
        match name {
            "lib.rs" | "main.rs" | "mod.rs" => folder.into(),
            _ => file.trim_end_matches(".rs").into(),
        }
    }

    fn mention(&mut self, line: usize, path: Vec<String>, kind: Kind) {
        self.found.modules[self.current].mentions.push(Mention { line, path, kind });
    }

    fn use_tree(&mut self, tree: &UseTree, mut path: Vec<String>, exported: bool) {
        let line = tree.span().start().line;
        let (last, name) = match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                return self.use_tree(&tree.tree, path, exported);
            }
            UseTree::Group(group) => {
                return group
                    .items
                    .iter()
                    .for_each(|tree| self.use_tree(tree, path.clone(), exported));
            }
            UseTree::Glob(_) => return self.mention(line, path, Kind::Glob { exported }),
            UseTree::Name(tree) => (tree.ident.to_string(), tree.ident.to_string()),
            UseTree::Rename(tree) => (tree.ident.to_string(), tree.rename.to_string()),
        };
        if last != "self" || path.is_empty() {
            path.push(last);
        }
        let name = if name == "self" { path[path.len() - 1].clone() } else { name };
        self.mention(line, path, Kind::Use { name, exported });
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let name = item.ident.to_string();
        let Module { path, file, root, .. } = &self.found.modules[self.current];
        let (file, root) = (file.clone(), *root);
        let path = [&path[..], std::slice::from_ref(&name)].concat();
        if let Some((_, items)) = &item.content {
            return self.module(&file, path, self.current, root, items);
        }
        let folder = self.children_of(self.current);
        let mut own = format!("{folder}/{name}.rs");
        if !self.tree.contains_key(&own) {
            own = format!("{folder}/{name}/mod.rs");
        }
        if let Some(set) = item.attrs.iter().find_map(tokens::path_attribute) {
            let (beside, _) = file.rsplit_once('/').expect("a file is in a folder");
            own = format!("{beside}/{set}");
        }
        self.file(&own, path, self.current, root);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let exported = !matches!(item.vis, Visibility::Inherited);
        self.use_tree(&item.tree, Vec::new(), exported);
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        // A single name in lower case is a variable more often than a function.
        if names.len() > 1 || names[0].starts_with(char::is_uppercase) {
            self.mention(path.span().start().line, names, Kind::Body);
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(function) = &*call.func
            && let Some(name) = function.path.get_ident()
        {
            self.mention(name.span().start().line, vec![name.to_string()], Kind::Body);
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let names = call.path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.mention(call.path.span().start().line, names, Kind::Body);
        for (line, path) in tokens::paths(call.tokens.clone()) {
            self.mention(line, path, Kind::Body);
        }
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            for (line, path) in tokens::paths(list.tokens.clone()) {
                self.mention(line, path, Kind::Body);
            }
        }
    }
}

/// Whether `#[cfg(test)]` or `#[cfg(all(test, …))]` is among them.
fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string().replace(' ', "");
            let all = condition.strip_prefix("all(").and_then(|rest| rest.strip_suffix(')'));
            condition == "test" || all.is_some_and(|all| all.split(',').any(|part| part == "test"))
        }
        _ => false,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
