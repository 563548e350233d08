//! Kernels: index equations over the operators that exist.

use super::call::Given;
use super::{Elaborator, Result, Val};
use crate::ast::Kernel;
use diag::{Code, Span};

impl Elaborator<'_> {
    pub(super) fn kernel(&mut self, kernel: &Kernel, _: Vec<Given>, _: Span) -> Result<Val> {
        self.fail(Code::NOT_YET, kernel.name.span, "kernels written as index equations are not compiled yet")
    }
}
