//! Names in what the parser leaves as tokens: arguments of macros and attributes.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{Attribute, Item, Lit, Meta};

/// The names that an item brings into its module. What a macro defines is told by the word before
/// it, as in `params! { pub struct Name { … } }`.
pub fn defined(item: &Item) -> Vec<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        Item::Macro(item) => match &item.ident {
            Some(name) => name,
            None => return in_macro(item.mac.tokens.clone()),
        },
        _ => return Vec::new(),
    };
    vec![name.to_string()]
}

fn in_macro(tokens: TokenStream) -> Vec<String> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let names = tokens.windows(2).filter_map(|pair| match pair {
        [TokenTree::Ident(word), TokenTree::Ident(name)]
            if ["struct", "enum", "fn", "const", "static", "type"].iter().any(|w| word == w) =>
        {
            Some(name.to_string())
        }
        _ => None,
    });
    names.collect()
}

/// The value of `#[path = "…"]`.
pub fn path_attribute(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    let syn::Expr::Lit(value) = &pair.value else { return None };
    match &value.lit {
        Lit::Str(text) if pair.path.is_ident("path") => Some(text.value()),
        _ => None,
    }
}

/// Paths among tokens, each with its line: names joined by `::`, single names of types, functions
/// that are called and macros, and texts like `"crate::name"`.
pub fn paths(tokens: TokenStream) -> Vec<(usize, Vec<String>)> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Vec::new();
    let mut n = 0;
    while n < tokens.len() {
        match &tokens[n] {
            TokenTree::Group(group) => found.extend(paths(group.stream())),
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                let path = text.trim_matches('"');
                if path.starts_with("crate::") || path.starts_with("super::") {
                    let names = path.split("::").map(String::from).collect();
                    found.push((literal.span().start().line, names));
                }
            }
            TokenTree::Ident(first) => {
                let line = first.span().start().line;
                let mut path = vec![first.to_string()];
                let before = n.checked_sub(1).map(|before| &tokens[before]);
                while is(tokens.get(n + 1), ':')
                    && is(tokens.get(n + 2), ':')
                    && let Some(TokenTree::Ident(next)) = tokens.get(n + 3)
                {
                    path.push(next.to_string());
                    n += 3;
                }
                let after = tokens.get(n + 1);
                let called = is(after, '!')
                    || matches!(after, Some(TokenTree::Group(group))
                        if group.delimiter() == Delimiter::Parenthesis);
                // `.name`, `'name` and `$name` are no paths, but `$crate` is one.
                let other = ['.', '\''].iter().any(|&mark| is(before, mark))
                    || is(before, '$') && path[0] != "crate";
                let worth = path.len() > 1 || called || path[0].starts_with(char::is_uppercase);
                if worth && !other {
                    found.push((line, path));
                }
            }
            TokenTree::Punct(_) => {}
        }
        n += 1;
    }
    found
}

pub fn is(token: Option<&TokenTree>, mark: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == mark)
}
