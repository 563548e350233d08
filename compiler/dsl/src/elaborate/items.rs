//! Items: those of each file, what it imports, and the standard library.

use super::{Elaborator, Result, Scope, Val, nearest};
use crate::ast::{self, ExternKind, Function, ItemKind};
use crate::parse;
use diag::{Code, Diagnostic, FileId, SourceMap, Span};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// The number of the standard library among the modules, and that of the file that is elaborated.
pub(super) const LIBRARY: usize = 0;
pub(super) const ROOT: usize = 1;

/// What an item is, to those who name it.
#[derive(Clone)]
pub(super) enum Item {
    Const(Rc<ast::Item>),
    Fn(Rc<Function>),
    Layer(Rc<ast::Module>),
    Kernel(Rc<ast::Kernel>),
    Type(Rc<ast::Ty>),
    Alias(Rc<ast::Expr>),
    Extern(Rc<ast::Extern>),
    Train,
    Weights,
}

/// An item of the standard library; parsed when it is first named.
pub(super) struct LibraryItem {
    pub file: FileId,
    pub offset: usize,
    pub text: &'static str,
}

/// The names that one file can use besides those of the library.
#[derive(Default)]
pub(super) struct Module {
    pub items: HashMap<String, (Item, Span)>,
    imports: HashMap<String, Import>,
}

enum Import {
    Whole(usize),
    /// One item of a module.
    Item(usize, String),
    /// Of an import with a mistake.
    Failed,
}

/// What a name of a module stands for.
pub(super) enum Found {
    /// The item, and the module it belongs to.
    Item(Item, usize),
    Module(usize),
    /// The import that would say failed.
    Failed,
}

/// The files of one elaboration: the one asked for first, then what it imports.
pub(super) struct Files {
    pub trees: Vec<(FileId, ast::File)>,
}

/// Where an import of `from` leads: paths are relative to the file that states them.
pub fn import_path(from: &str, path: &str) -> String {
    let folder = from.rfind('/').map_or("", |at| &from[..at + 1]);
    let mut parts: Vec<&str> = vec![];
    let whole = if path.starts_with('/') { path.to_string() } else { format!("{folder}{path}") };
    for part in whole.split('/') {
        match part {
            "." => {}
            ".." if parts.last().is_some_and(|p| !matches!(*p, ".." | "")) => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The paths that a file imports.
pub fn imports(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|l| l.strip_prefix("import ")?.trim_start().strip_prefix('"'));
    lines.filter_map(|rest| Some(rest.split_once('"')?.0.to_string())).collect()
}

impl Files {
    /// Parses a file and what it imports, as far as the sources have it.
    pub fn parse(sources: &SourceMap, file: FileId) -> std::result::Result<Files, Vec<Diagnostic>> {
        let (mut trees, mut errors): (Vec<(FileId, ast::File)>, Vec<Diagnostic>) = (vec![], vec![]);
        let mut open = vec![file];
        let mut seen = open.clone();
        while let Some(file) = open.pop() {
            match crate::parse(sources.text(file), file) {
                Ok(tree) => {
                    for item in &tree.items {
                        let ItemKind::Import { path, is_file: true, .. } = &item.kind else { continue };
                        let found = sources.find(&import_path(sources.name(file), path));
                        if let Some(next) = found.filter(|f| !seen.contains(f)) {
                            seen.push(next);
                            open.push(next);
                        }
                    }
                    trees.push((file, tree));
                }
                Err(e) => errors.extend(e),
            }
        }
        match errors.is_empty() {
            true => Ok(Files { trees }),
            false => Err(errors),
        }
    }
}

impl Elaborator<'_> {
    /// Takes in the items of all files, and then their imports.
    pub(super) fn take_files(&mut self, files: &Files) {
        for (number, (file, tree)) in (ROOT..).zip(&files.trees) {
            self.modules.push(Module::default());
            self.module_of.insert(*file, number);
            self.take_items(tree, number);
        }
        for (number, (file, tree)) in (ROOT..).zip(&files.trees) {
            for item in &tree.items {
                if let Err(e) = self.import(item, *file, number) {
                    self.report(*e);
                    self.failed_import(item, number);
                }
            }
        }
        for (number, (_, tree)) in (ROOT..).zip(&files.trees) {
            self.resolve(tree, number);
        }
    }

    /// Reports every name of a file that nothing defines.
    fn resolve(&mut self, tree: &ast::File, module: usize) {
        let all = [self.names_of(module), self.names_of(LIBRARY), provided()].concat();
        let set: HashSet<&str> = all.iter().map(String::as_str).collect();
        for error in crate::resolve::resolve(tree, &|name| set.contains(name), &all) {
            self.report(error);
        }
    }

    fn take_items(&mut self, tree: &ast::File, module: usize) {
        for item in &tree.items {
            let (name, entry) = match &item.kind {
                ItemKind::Import { .. } => continue,
                ItemKind::Const { name, .. } => (name, Item::Const(Rc::new(item.clone()))),
                ItemKind::Fn(f) => (&f.name, Item::Fn(Rc::new(f.clone()))),
                ItemKind::Layer(m) | ItemKind::Model(m) => (&m.name, Item::Layer(Rc::new(m.clone()))),
                ItemKind::ModelAlias { name, value } => (name, Item::Alias(Rc::new(value.clone()))),
                ItemKind::Kernel(k) => (&k.name, Item::Kernel(Rc::new(k.clone()))),
                ItemKind::Extern(e) => (&e.name, Item::Extern(Rc::new(e.clone()))),
                ItemKind::Type { name, ty } => (name, Item::Type(Rc::new(ty.clone()))),
                ItemKind::Train(t) => (&t.name, Item::Train),
                ItemKind::Weights(w) => (&w.name, Item::Weights),
            };
            match &item.kind {
                ItemKind::Train(t) if module == ROOT => self.training_blocks.push(t.clone()),
                ItemKind::Weights(w) => {
                    self.weights.extend((module == ROOT).then(|| w.clone()));
                    continue;
                }
                _ => {}
            }
            if module == ROOT && matches!(item.kind, ItemKind::Model(_) | ItemKind::ModelAlias { .. }) {
                self.models.push(name.text.clone());
            }
            if let Err(e) = self.take_item(name, entry, module) {
                self.report(*e);
            }
        }
    }

    fn take_item(&mut self, name: &ast::Name, item: Item, module: usize) -> Result<()> {
        match self.modules[module].items.get(&name.text) {
            Some((_, first)) => {
                let error =
                    Diagnostic::new(Code::DEFINED_TWICE, name.span, format!("`{}` is defined twice", name.text));
                Err(Box::new(error.other(*first, "first here").help("give one of them another name")))
            }
            None => {
                let right = capital(name, &item);
                self.modules[module].items.insert(name.text.clone(), (item, name.span));
                right
            }
        }
    }

    fn import(&mut self, item: &ast::Item, file: FileId, number: usize) -> Result<()> {
        let ItemKind::Import { path, is_file, names, alias } = &item.kind else { return Ok(()) };
        let target = match is_file {
            true => self.imported_file(path, file, item.span)?,
            false => imported_library(path, item.span)?,
        };
        for name in names {
            if !self.has_item(&name.text, target)? {
                let known: Vec<String> = self.names_of(target);
                let hint = nearest(&name.text, known.iter().map(String::as_str));
                let hint = hint.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
                let message = format!("`{path}` has no `{}`{hint}", name.text);
                return self.fail(Code::UNKNOWN_NAME, name.span, message);
            }
            self.bind_import(name, Import::Item(target, name.text.clone()), number)?;
        }
        match names.is_empty() {
            true => self.bind_import(&whole_name(path, alias.as_ref(), item.span), Import::Whole(target), number),
            false => Ok(()),
        }
    }

    /// What a failed import would have named is known to be wrong already.
    fn failed_import(&mut self, item: &ast::Item, number: usize) {
        let ItemKind::Import { path, names, alias, .. } = &item.kind else { return };
        let whole = whole_name(path, alias.as_ref(), item.span);
        for name in names.iter().chain(names.is_empty().then_some(&whole)) {
            self.modules[number].imports.entry(name.text.clone()).or_insert(Import::Failed);
        }
    }

    fn imported_file(&self, path: &str, file: FileId, span: Span) -> Result<usize> {
        let name = import_path(self.sources.name(file), path);
        let found = self.sources.find(&name).and_then(|f| self.module_of.get(&f));
        match found {
            Some(module) => Ok(*module),
            None => {
                let error = Diagnostic::new(Code::IMPORT, span, format!("cannot read `{name}`"));
                Err(Box::new(error.help("paths are relative to the file that imports")))
            }
        }
    }

    fn bind_import(&mut self, name: &ast::Name, import: Import, number: usize) -> Result<()> {
        if let Some((_, first)) = self.modules[number].items.get(&name.text) {
            let message = format!("`{}` is imported and defined in this file", name.text);
            let error = Diagnostic::new(Code::DEFINED_TWICE, name.span, message);
            return Err(Box::new(error.other(*first, "defined here").help("import it under another name: … as other")));
        }
        self.modules[number].imports.insert(name.text.clone(), import);
        Ok(())
    }

    fn has_item(&mut self, name: &str, module: usize) -> Result<bool> {
        self.from_library(name, module)?;
        Ok(self.modules[module].items.contains_key(name))
    }

    fn from_library(&mut self, name: &str, module: usize) -> Result<()> {
        if module == LIBRARY
            && let Some(found) = self.library.remove(name)
        {
            let tree = parse::part(found.text, found.file, found.offset)?;
            self.take_items(&tree, LIBRARY);
        }
        Ok(())
    }

    /// All names of items that a module has.
    pub(super) fn names_of(&self, module: usize) -> Vec<String> {
        let own = &self.modules[module];
        let library = self.library.keys().filter(|_| module == LIBRARY).map(|n| n.to_string());
        own.items.keys().chain(own.imports.keys()).cloned().chain(library).collect()
    }

    /// What a name means in a module: an item of its own, an imported one, or one of the library.
    pub(super) fn find(&mut self, name: &str, module: usize) -> Result<Option<Found>> {
        let own = |e: &Self, module: usize, name: &str| {
            e.modules[module].items.get(name).map(|(item, _)| Found::Item(item.clone(), module))
        };
        if let Some(found) = own(self, module, name) {
            return Ok(Some(found));
        }
        match self.modules[module].imports.get(name) {
            Some(Import::Whole(target)) => return Ok(Some(Found::Module(*target))),
            Some(Import::Failed) => return Ok(Some(Found::Failed)),
            Some(Import::Item(target, name)) => {
                let (target, name) = (*target, name.clone());
                return Ok(own(self, target, &name));
            }
            None => {}
        }
        self.from_library(name, LIBRARY)?;
        Ok(own(self, LIBRARY, name))
    }

    /// As [`Self::find`], for a path such as `blocks.Block`.
    pub(super) fn find_path(&mut self, path: &str, module: usize) -> Result<Option<Found>> {
        let mut module = module;
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            match self.find(part, module)? {
                Some(Found::Module(next)) if parts.peek().is_some() => module = next,
                found if parts.peek().is_none() => return Ok(found),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// `blocks.Block`: an item of an imported file.
    pub(super) fn module_field(&mut self, module: usize, name: &str, span: Span) -> Result<Val> {
        match self.has_item(name, module)? {
            true => {
                let (item, _) = self.modules[module].items[name].clone();
                self.item(name, item, module, span)
            }
            false => {
                let known = self.names_of(module);
                let hint = nearest(name, known.iter().map(String::as_str));
                let hint = hint.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
                self.fail(Code::UNKNOWN_NAME, span, format!("the imported file has no `{name}`{hint}"))
            }
        }
    }

    /// The scope around the items of the file that a span points into.
    pub(super) fn home(&self, span: Span) -> Rc<Scope> {
        Scope::root(self.module_of.get(&span.file).copied().unwrap_or(LIBRARY))
    }

    pub(super) fn item(&mut self, name: &str, item: Item, module: usize, span: Span) -> Result<Val> {
        let home = Scope::root(module);
        match item {
            Item::Const(value) => self.constant(name, &value, module, span),
            Item::Fn(f) => Ok(Val::Fn(f, home)),
            Item::Layer(m) => Ok(Val::Layer(m)),
            Item::Kernel(k) => Ok(Val::Kernel(k)),
            Item::Alias(value) => self.expr(&value, &home),
            Item::Extern(e) => Ok(Val::Extern(e)),
            Item::Type(_) => self.fail(Code::STATIC_TYPE, span, format!("`{name}` is a type, not a value")),
            Item::Train => self.fail(Code::STATIC_TYPE, span, format!("`{name}` is a `train` block, not a value")),
            Item::Weights => self.fail(Code::STATIC_TYPE, span, format!("`{name}` is a `weights` block, not a value")),
        }
    }

    fn constant(&mut self, name: &str, item: &ast::Item, module: usize, span: Span) -> Result<Val> {
        let key = (module, name.to_string());
        match self.consts.get(&key) {
            Some(Some(known)) => return Ok(known.clone()),
            Some(None) => {
                let error = Diagnostic::new(Code::RECURSION, span, format!("the constant `{name}` needs itself"));
                let error = error.other(item.span, "its value starts here");
                return Err(Box::new(error.help("give one of them a value that needs none of the others")));
            }
            None => {}
        }
        let ItemKind::Const { ty, value: written, .. } = &item.kind else { return Ok(Val::None) };
        self.consts.insert(key.clone(), None);
        let home = Scope::root(module);
        let value = match self.define(name)? {
            Some(value) => Ok(value),
            None => self.expr(written, &home),
        };
        self.consts.remove(&key);
        let value = value?;
        if let Some(ty) = ty {
            let place = super::shape::Place { what: super::shape::What::Name(name), ty, span: written.span };
            self.match_type(&value, ty, &place, &home)?;
        }
        // A tensor belongs to one graph: each use has its own.
        if !value.is_running() {
            self.consts.insert(key, Some(value.clone()));
        }
        Ok(value)
    }
}

/// Names that the compiler itself gives a meaning.
fn provided() -> Vec<String> {
    let words = ["training", "float", "inf", "pi", "step"].into_iter().chain(super::expr::BUILTINS.iter().copied());
    let words = words.chain(graph::ops::ALL.iter().map(|i| i.name)).chain(super::expr::PLANNED.iter().copied());
    words.chain(graph::Elem::ALL.iter().map(|e| e.name())).map(String::from).collect()
}

/// The name of an imported file: as stated, else that of the file.
fn whole_name(path: &str, alias: Option<&ast::Name>, span: Span) -> ast::Name {
    let stem = path.rsplit(['/', '.']).find(|s| *s != "nn").unwrap_or(path);
    alias.cloned().unwrap_or(ast::Name { text: stem.to_string(), span })
}

fn imported_library(path: &str, span: Span) -> Result<usize> {
    let files = crate::STANDARD_LIBRARY.iter().map(|(name, _)| name.trim_end_matches(".nn").replace('/', "."));
    let files: Vec<String> = files.collect();
    if path == "std" || files.iter().any(|f| f == path) {
        return Ok(LIBRARY);
    }
    let message = format!("there is no `{path}`; the library has {}", super::list_of(&files));
    let error = Diagnostic::new(Code::IMPORT, span, message);
    Err(Box::new(error.help("a file is imported by its path in quotes: import \"blocks.nn\" as blocks")))
}

/// Layers, models, types and sizes start with a capital, all else does not.
fn capital(name: &ast::Name, item: &Item) -> Result<()> {
    let (what, capital) = match item {
        Item::Const(_) => ("a constant", false),
        Item::Fn(_) => ("a function", false),
        Item::Kernel(_) => ("a kernel", false),
        Item::Extern(e) if e.kind == ExternKind::Kernel => ("a kernel", false),
        Item::Extern(_) => ("a function", false),
        Item::Layer(_) | Item::Alias(_) => ("a layer or model", true),
        Item::Type(_) => ("a type", true),
        Item::Train => ("a `train` block", true),
        Item::Weights => return Ok(()),
    };
    if name.text.starts_with(char::is_uppercase) == capital {
        return Ok(());
    }
    let start = if capital { "a capital" } else { "a small letter" };
    let message = format!("`{}` is {what}; its name starts with {start}", name.text);
    let error = Diagnostic::new(Code::SYNTAX, name.span, message);
    Err(Box::new(error.help("layers, models, types and sizes start with a capital, everything else does not")))
}
