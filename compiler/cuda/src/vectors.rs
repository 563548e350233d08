//! Lanes that lie side by side in memory: one access moves them all.

use crate::Unsupported;
use crate::access::{Access, accesses};
use crate::emit::{Emitter, c_type};
use crate::homes::Home;
use kernel::scheduled::Stmt;
use kernel::{Affine, BufferId, Expr, Extent, VarId};

/// Bytes that one access moves at most.
const WIDEST: usize = 16;

impl Emitter<'_> {
    /// Loads all vectors of a body, and declares those to store after it.
    pub fn vector_accesses(
        &mut self,
        var: VarId,
        body: &[Stmt],
    ) -> Result<Vec<(BufferId, Affine, String)>, Unsupported> {
        let Extent::Const(lanes) = self.kernel.loops[var.index()].extent else { return Ok(vec![]) };
        if body.iter().any(|s| matches!(s, Stmt::Loop { .. })) {
            return Ok(vec![]);
        }
        let all = accesses(self.kernel, body, &self.threads);
        let guarded = self.guarded_loads(body);
        let mut stores = vec![];
        for access in &all {
            let Some(at) = &access.at else { continue };
            let key = (access.buffer, at.clone());
            let storage = &self.kernel.storage[access.buffer.index()];
            let elem = storage.elem;
            let own: Vec<&Access> = all.iter().filter(|a| a.buffer == access.buffer).collect();
            let stored = own.iter().any(|a| a.store);
            // What is written here may be read here too, after that and at the same address.
            let mixed = stored && !(own[0].store && own.iter().all(|a| a.at == access.at));
            let wide = lanes > 1 && lanes as usize * elem.size() <= WIDEST && (lanes as u64).is_power_of_two();
            // Slices of a larger buffer follow each other, and each starts at a multiple of a vector only if it is one long.
            let whole = storage.len.is_none_or(|len| len % lanes == 0);
            let private = matches!(self.homes[access.buffer.index()], Home::Thread { .. });
            let aligned = at.coefficient(var) == Some(1) && is_multiple(&at.without(var), lanes);
            if mixed
                || !wide
                || !whole
                || private
                || !aligned
                || guarded.contains(&key)
                || self.vectors.contains_key(&key)
            {
                continue;
            }
            let name = self.fresh(&format!("{}_{lanes}", self.buffers[access.buffer.index()]));
            self.vectors.insert(key, name.clone());
            let vector = format!("nnc_vector<{}, {lanes}>", c_type(elem));
            if stored {
                self.line(format!("{vector} {name};"));
                stores.push((access.buffer, at.clone(), name));
            } else {
                let place = self.vector_place(var, access.buffer, at)?;
                self.line(format!("const {vector} {name} = {place};"));
            }
        }
        Ok(stores)
    }

    fn guarded_loads(&self, body: &[Stmt]) -> Vec<(BufferId, Affine)> {
        let mut out = vec![];
        for stmt in body {
            let Stmt::Set { value, .. } = stmt else { continue };
            self.kernel.exprs.walk(*value, &mut |_, e| {
                if let Expr::Load { buffer, at, guard: Some(_) } = e
                    && let Some(at) = at[0].as_affine()
                {
                    out.push((*buffer, at.clone()));
                }
            });
        }
        out
    }

    /// The lanes of `var` at an address as one vector in memory.
    pub fn vector_place(&self, var: VarId, buffer: BufferId, at: &Affine) -> Result<String, Unsupported> {
        let lanes = self.extent(self.kernel.loops[var.index()].extent);
        let storage = &self.kernel.storage[buffer.index()];
        let ty = c_type(storage.elem);
        let constant = if storage.written { "" } else { "const " };
        let start = self.affine(&at.without(var));
        Ok(format!("*({constant}nnc_vector<{ty}, {lanes}> *)({} + {start})", self.buffers[buffer.index()]))
    }
}

fn is_multiple(a: &Affine, n: i64) -> bool {
    a.constant % n == 0 && a.terms().iter().all(|t| t.factor % n == 0)
}
