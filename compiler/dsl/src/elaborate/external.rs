//! Calls of code from elsewhere: `extern kernel`.
//!
//! The C function gets the addresses of its tensors in the order of the parameters, then that of the result, each row by
//! row; then as `int64_t` each size that the signature names, in the order of its first mention, a group `..S` as the number
//! of its elements; then settings, those that are `int` or `bool` as `int64_t`, and after them those that are `float` as
//! `double`. It returns nothing.

use super::{Elaborator, Result, Scope, Val, items::import_path};
use crate::ast::{DimTy, Extern, Name, Param, Ty, TyKind};
use diag::{Code, Diagnostic, Span};
use graph::{Dim, Value, ops};
use std::rc::Rc;

impl Elaborator<'_> {
    /// The node that calls the function; the parameters have their values in `scope`.
    pub(super) fn external(&mut self, e: &Extern, scope: &Rc<Scope>, span: Span) -> Result<Val> {
        let (file, symbol) = self.binding(e, scope)?;
        let (mut operands, mut integers, mut floats) = (vec![], vec![], vec![]);
        for param in &e.params {
            match param.ty.as_ref().map(|ty| &ty.kind) {
                Some(TyKind::Tensor { elem, .. }) => operands.push(self.argument(param, elem.as_ref(), scope, span)?),
                Some(TyKind::Named { path, .. }) => match (path.as_str(), scope.get(&param.name.text)) {
                    ("int", Some(Val::Num(n))) if n.as_int().is_some() => integers.extend(n.as_int()),
                    ("bool", Some(Val::Bool(b))) => integers.push(b as i64),
                    ("float", Some(value)) if value.as_f64().is_some() => floats.extend(value.as_f64()),
                    _ => return self.no_argument(&param.name),
                },
                _ => return self.no_argument(&param.name),
            }
        }
        let TyKind::Tensor { elem, dims } = &e.result.kind else {
            let message = format!("`{}` gives one tensor, row by row", e.name.text);
            return self.advise(Code::STATIC_TYPE, e.result.span, message, "write a function for each result");
        };
        let elem = self.element(elem.as_ref(), scope)?;
        let shape = self.stated_dims(dims, scope, "code from elsewhere cannot be asked for sizes")?;
        let sizes = self.named_sizes(e, scope)?;
        let call = ops::Extern { file, symbol, elem, shape, sizes, integers, floats };
        self.push(call, &operands, span).map(Val::Tensor)
    }

    /// The file and the function in it.
    fn binding(&mut self, e: &Extern, scope: &Rc<Scope>) -> Result<(String, String)> {
        let name = &e.name.text;
        let help = format!("= (cpu = \"{name}.c\", symbol = \"{name}\"), from the folder of the model");
        let Some(binding) = &e.binding else {
            return self.advise(Code::MISSING_ARGUMENT, e.name.span, format!("where is the code of `{name}`?"), &help);
        };
        let (mut file, mut symbol) = (None, name.clone());
        let Val::Tuple(fields) = self.expr(binding, scope)? else {
            let message = format!("the code of `{name}` is named by fields");
            return self.advise(Code::STATIC_TYPE, binding.span, message, &help);
        };
        for (field, value) in fields.iter() {
            match (field.as_deref(), value) {
                (Some("cpu"), Val::Str(path)) => file = Some(path.clone()),
                (Some("symbol"), Val::Str(text)) => symbol = text.to_string(),
                // For GPUs; nothing links it yet.
                (Some("cuda"), Val::Str(_)) => {}
                _ => {
                    let message = format!("the code of `{name}` has `cpu`, `cuda` and `symbol`, each a text");
                    return self.advise(Code::NO_OPTION, binding.span, message, &help);
                }
            }
        }
        match file {
            Some(path) => Ok((import_path(self.sources.name(e.name.span.file), &path), symbol)),
            None => {
                let message = format!("`{name}` has no code for CPUs");
                self.advise(Code::MISSING_ARGUMENT, binding.span, message, &help)
            }
        }
    }

    fn argument(&mut self, param: &Param, elem: Option<&Name>, scope: &Rc<Scope>, span: Span) -> Result<Value> {
        let Some(value) = scope.get(&param.name.text) else { return self.no_argument(&param.name) };
        let elem = self.element(elem, scope)?;
        self.tensor(&value, Some(elem), span)
    }

    fn no_argument<T>(&self, name: &Name) -> Result<T> {
        let message = format!("`{}` cannot be given to code from elsewhere", name.text);
        let error = Diagnostic::new(Code::STATIC_TYPE, name.span, message);
        Err(Box::new(error.help("it takes tensors, and settings that are int, float or bool")))
    }

    /// The sizes that the types of a signature name, in the order of their first mention.
    fn named_sizes(&mut self, e: &Extern, scope: &Rc<Scope>) -> Result<Vec<Dim>> {
        let mut names: Vec<String> = vec![];
        let mut sizes = vec![];
        let types: Vec<&Ty> = e.params.iter().filter_map(|p| p.ty.as_ref()).chain([&e.result]).collect();
        for ty in types {
            let TyKind::Tensor { dims, .. } = &ty.kind else { continue };
            for dim in dims {
                let mentioned = match dim {
                    DimTy::Expr(e) => e.names().into_iter().map(str::to_string).collect(),
                    DimTy::Shape(name) => vec![name.text.clone()],
                    DimTy::Hole(_) => vec![],
                };
                for name in mentioned {
                    if names.contains(&name) {
                        continue;
                    }
                    match scope.get(&name) {
                        Some(Val::Num(size)) => sizes.push(size),
                        Some(Val::List(_)) => {
                            let group = Name { text: name.clone(), span: ty.span };
                            sizes.push(self.shape_named(&group, scope)?.into_iter().product());
                        }
                        _ => continue,
                    }
                    names.push(name);
                }
            }
        }
        Ok(sizes)
    }
}
