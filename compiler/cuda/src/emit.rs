//! Statements as text: loops, stores, barriers, the function around them.

use crate::access::{Access, accesses};
use crate::barriers::Pending;
use crate::expr::atom;
use crate::homes::{Home, homes, in_thread};
use crate::names::Names;
use crate::shape::{AXES, Shape};
use crate::{Source, Unsupported, unsupported};
use kernel::scheduled::{LoopKind, Place, Scheduled, SizeValue, Stmt};
use kernel::{Affine, BufferId, Combine, Elem, Expr, ExprId, Extent, Subscript, VarId};
use std::collections::HashMap;

pub(crate) fn emit(kernel: &Scheduled) -> Result<Source, Unsupported> {
    let shape = Shape::of(kernel)?;
    let (homes, memory) = homes(kernel, &shape)?;
    let mut names = Names::new();
    let mut named = |all: &mut dyn Iterator<Item = &String>| all.map(|n| names.unique(n)).collect::<Vec<_>>();
    let buffers = named(&mut kernel.storage.iter().map(|s| &s.name));
    let sizes = named(&mut kernel.sizes.iter().map(|s| &s.name));
    let vars = named(&mut kernel.loops.iter().map(|l| &l.name));
    let mut emitter = Emitter {
        kernel,
        pending: Pending::new(kernel, &shape),
        index: if is_wide(kernel) { "i64" } else { "int" },
        room: room(kernel, &shape).then_some(memory),
        shape,
        homes,
        names,
        buffers,
        sizes,
        vars,
        lines: vec![],
        depth: 1,
        blocks: vec![],
        threads: vec![],
        guards: 0,
        vectors: HashMap::new(),
        uses: HashMap::new(),
        known: HashMap::new(),
    };
    emitter.declare()?;
    emitter.block(&kernel.body)?;
    emitter.finish(memory)
}

/// Offsets take 32 bits unless a buffer is known to be longer. Where its length is known only when running, whoever
/// launches the kernel has to look: see [`Source::most`].
fn is_wide(kernel: &Scheduled) -> bool {
    kernel.storage.iter().any(|s| s.len.is_some_and(|n| n > i32::MAX as i64))
}

/// Whether threads combine values, through a room in shared memory.
fn room(kernel: &Scheduled, shape: &Shape) -> bool {
    let thread = |v: &VarId| matches!(kernel.loops[v.index()].kind, LoopKind::Thread(_));
    let all = |i: usize| &kernel.exprs[ExprId(i as u32)];
    let across = |e: &Expr| matches!(e, Expr::Reduce { axes, .. } if axes.iter().any(thread));
    shape.block != [1; 3] && (0..kernel.exprs.len()).any(|i| across(all(i)))
}

/// Loops whose iterations are blocks, threads or lanes, and so run at once.
fn is_bound(kind: LoopKind) -> bool {
    matches!(kind, LoopKind::Block(_) | LoopKind::Thread(_) | LoopKind::Lanes)
}

/// Bytes that the widest element takes in the room of a thread.
const ROOM: usize = 8;

pub(crate) struct Emitter<'a> {
    pub kernel: &'a Scheduled,
    pub shape: Shape,
    pub homes: Vec<Home>,
    pending: Pending<'a>,
    /// Type of loop variables, sizes and offsets.
    pub index: &'static str,
    /// Offset in shared memory where threads combine values.
    pub room: Option<usize>,
    names: Names,
    pub buffers: Vec<String>,
    sizes: Vec<String>,
    vars: Vec<String>,
    lines: Vec<String>,
    depth: usize,
    /// Open block loops' dimensions, open thread loops.
    blocks: Vec<u8>,
    pub threads: Vec<VarId>,
    /// How many open loops only some of the block's threads run.
    pub guards: usize,
    /// Accesses of the open vector that move all its lanes at once, by name.
    pub vectors: HashMap<(BufferId, Affine), String>,
    /// Of the statement at hand: how often each expression is used, and the text of those that have one.
    pub uses: HashMap<ExprId, usize>,
    pub known: HashMap<ExprId, String>,
}

impl Emitter<'_> {
    pub fn line(&mut self, text: impl AsRef<str>) {
        self.lines.push(format!("{}{}", "  ".repeat(self.depth), text.as_ref()));
    }

    /// `head {`, what `body` adds, `}`.
    pub fn braced(
        &mut self,
        head: &str,
        body: impl FnOnce(&mut Self) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        self.line(format!("{head} {{"));
        self.depth += 1;
        let result = body(self);
        self.depth -= 1;
        self.line("}");
        result
    }

    pub fn fresh(&mut self, name: &str) -> String {
        self.names.unique(name)
    }

    fn declare(&mut self) -> Result<(), Unsupported> {
        let kernel = self.kernel;
        for (i, info) in kernel.sizes.iter().enumerate() {
            let value = match &info.value {
                SizeValue::Argument => format!("({}){}_wide", self.index, self.sizes[i]),
                SizeValue::TaskBegin | SizeValue::TaskEnd => return unsupported("tasks: bind loops to blocks"),
                SizeValue::Linear(a) => self.affine(a),
                SizeValue::Floor(a, by) => format!("{} / {by}", atom(self.affine(a))),
                SizeValue::Product(a, b) => format!("{} * {}", self.sizes[a.index()], self.sizes[b.index()]),
                SizeValue::Min(a, b) => format!("nnc_min<{}>({}, {})", self.index, self.affine(a), self.affine(b)),
                SizeValue::Max(a, b) => format!("nnc_max<{}>({}, {})", self.index, self.affine(a), self.affine(b)),
            };
            self.line(format!("const {} {} = {value};", self.index, self.sizes[i]));
        }
        if self.homes.iter().any(|h| matches!(h, Home::Shared { .. })) || self.room.is_some() {
            self.line("NNC_SHARED(shared);");
        }
        for (i, storage) in kernel.storage.iter().enumerate() {
            let (ty, name) = (c_type(storage.elem), &self.buffers[i]);
            match self.homes[i] {
                Home::Argument => {}
                Home::Shared { offset } => {
                    let at = if offset == 0 { "shared".into() } else { format!("(shared + {offset})") };
                    self.line(format!("{ty} *const {name} = ({ty} *){at};"));
                }
                Home::Thread { len: 1 } => self.line(format!("{ty} {name};")),
                Home::Thread { len } => self.line(format!("{ty} {name}[{len}];")),
            }
        }
        Ok(())
    }

    fn finish(mut self, memory: usize) -> Result<Source, Unsupported> {
        let kernel = self.kernel;
        let mut parameters = vec!["error".to_string()];
        let mut declared = vec!["i64 *error".to_string()];
        for (i, storage) in kernel.storage.iter().enumerate().filter(|(_, s)| s.place == Place::Argument) {
            let qualifier = if storage.written { "" } else { "const " };
            declared.push(format!("{qualifier}{} *__restrict__ {}", c_type(storage.elem), self.buffers[i]));
            parameters.push(storage.name.clone());
        }
        for (i, info) in kernel.sizes.iter().enumerate().filter(|(_, s)| s.value == SizeValue::Argument) {
            declared.push(format!("i64 {}_wide", self.sizes[i]));
            parameters.push(info.name.clone());
        }
        let clean: String = kernel.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let entry = format!("kernel_{clean}");
        let threads: u32 = self.shape.block.iter().product();
        let head = format!("NNC_KERNEL({threads}) {entry}({}) {{", declared.join(", "));
        self.lines.insert(0, head);
        self.lines.push("}\n".into());
        let shared = memory + self.room.map_or(0, |_| threads as usize * ROOM);
        let Shape { grid, block } = self.shape;
        let arguments = kernel.storage.iter().filter(|s| s.place == Place::Argument);
        let narrowest = arguments.map(|s| s.elem.size()).min().unwrap_or(1);
        let most = if is_wide(kernel) { usize::MAX } else { i32::MAX as usize * narrowest };
        Ok(Source { entry, text: self.lines.join("\n"), grid, block, shared, parameters, most })
    }

    fn block(&mut self, stmts: &[Stmt]) -> Result<(), Unsupported> {
        let mut first_blocks: [Affine; 3] = Default::default();
        // What is pending at the end of regions that are other blocks.
        let mut elsewhere = vec![];
        for stmt in stmts {
            let kind = match stmt {
                Stmt::Loop { var, .. } => Some(self.kernel.loops[var.index()].kind),
                Stmt::Set { .. } => None,
            };
            if !matches!(kind, Some(LoopKind::Block(_))) {
                elsewhere.drain(..).for_each(|p| self.pending.merge(p));
            }
            let next = self.memory_accesses(std::slice::from_ref(stmt));
            if self.pending.conflicts(&next) && !self.waits_inside(stmt) {
                self.barrier()?;
            }
            match stmt {
                Stmt::Set { target, at, combine, value, .. } => {
                    self.set(*target, at, *combine, *value)?;
                    self.pending.add(next);
                }
                Stmt::Loop { var, body } => match self.kernel.loops[var.index()].kind {
                    LoopKind::Block(d) => {
                        let count = Affine::from(self.kernel.loops[var.index()].extent);
                        let first = first_blocks[d as usize].clone();
                        first_blocks[d as usize] = first.clone() + count;
                        let before = self.pending.clone();
                        self.block_loop(*var, d, first, body)?;
                        elsewhere.push(std::mem::replace(&mut self.pending, before));
                    }
                    LoopKind::Thread(d) => self.thread_loop(*var, d, body)?,
                    LoopKind::Lanes => self.lanes_loop(*var, body)?,
                    _ => self.run_loop(*var, body)?,
                },
            }
        }
        elsewhere.into_iter().for_each(|p| self.pending.merge(p));
        Ok(())
    }

    /// A loop whose iterations wait for each other needs no barrier before it too.
    fn waits_inside(&self, stmt: &Stmt) -> bool {
        let Stmt::Loop { var, body } = stmt else { return false };
        if is_bound(self.kernel.loops[var.index()].kind) {
            return false;
        }
        let own = self.memory_accesses(body);
        let mut alone = Pending::new(self.kernel, &self.shape);
        alone.add_carried(own.clone(), &self.threads);
        alone.conflicts(&own)
    }

    /// Accesses of memory that other threads see, and that is written.
    fn memory_accesses(&self, stmts: &[Stmt]) -> Vec<Access> {
        let mut all = accesses(self.kernel, stmts, &self.threads);
        all.retain(|a| {
            !matches!(self.homes[a.buffer.index()], Home::Thread { .. })
                && self.kernel.storage[a.buffer.index()].written
        });
        all
    }

    fn barrier(&mut self) -> Result<(), Unsupported> {
        if self.guards > 0 {
            return unsupported("threads waiting for each other where only some of a block's threads run");
        }
        self.line("__syncthreads();");
        self.pending.clear();
        Ok(())
    }

    /// A loop whose iterations are the blocks from `first` on.
    fn block_loop(&mut self, var: VarId, d: u8, first: Affine, body: &[Stmt]) -> Result<(), Unsupported> {
        let (name, extent) = (self.vars[var.index()].clone(), self.kernel.loops[var.index()].extent);
        let index = format!("blockIdx.{}", AXES[d as usize]);
        let index = match first.as_constant() {
            Some(0) => index,
            _ => format!("({}){index} - {}", self.index, atom(self.affine(&first))),
        };
        let lower = (first.as_constant() != Some(0)).then(|| format!("{name} >= 0"));
        let last = first + Affine::from(extent) == self.shape.grid[d as usize];
        let upper = (!last).then(|| format!("{name} < {}", self.extent(extent)));
        let conditions: Vec<String> = lower.into_iter().chain(upper).collect();
        self.blocks.push(d);
        let ty = self.index;
        let result = self.bound(&format!("const {ty} {name} = {index}"), &conditions, |e| e.block(body));
        self.blocks.pop();
        result
    }

    fn thread_loop(&mut self, var: VarId, d: u8, body: &[Stmt]) -> Result<(), Unsupported> {
        let (name, extent) = (self.vars[var.index()].clone(), self.kernel.loops[var.index()].extent);
        let whole = extent == Extent::Const(self.shape.block[d as usize] as i64);
        let condition = (!whole).then(|| format!("{name} < {}", self.extent(extent)));
        self.threads.push(var);
        self.guards += !whole as usize;
        let definition = format!("const {} {name} = threadIdx.{}", self.index, AXES[d as usize]);
        let result = match whole && !self.is_used(var, body) {
            true => self.block(body),
            false => self.bound(&definition, condition.as_slice(), |e| e.block(body)),
        };
        self.guards -= !whole as usize;
        self.threads.pop();
        result
    }

    /// Whether the text of `stmts` has this variable in it.
    fn is_used(&self, var: VarId, stmts: &[Stmt]) -> bool {
        let in_place = |buffer: &BufferId, at: &Affine| {
            self.kernel.storage[buffer.index()].place != Place::Register && at.uses(var)
        };
        stmts.iter().any(|stmt| match stmt {
            Stmt::Loop { body, .. } => self.is_used(var, body),
            Stmt::Set { target, at, value, .. } => {
                let mut used = in_place(target, at);
                self.kernel.exprs.walk(*value, &mut |_, e| {
                    used |= match e {
                        Expr::Index(a, _) => a.uses(var),
                        Expr::Load { buffer, at, guard } => {
                            at.iter().filter_map(Subscript::as_affine).any(|a| in_place(buffer, a))
                                || guard.iter().flat_map(|g| &g.ranges).any(|(a, _)| a.uses(var))
                        }
                        _ => false,
                    }
                });
                used
            }
        })
    }

    /// Defines a variable for what follows, where the conditions hold.
    fn bound(
        &mut self,
        definition: &str,
        conditions: &[String],
        body: impl FnOnce(&mut Self) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        if conditions.is_empty() {
            self.line(format!("{definition};"));
            return body(self);
        }
        self.braced(&format!("if ({definition}; {})", conditions.join(" && ")), body)
    }

    fn run_loop(&mut self, var: VarId, body: &[Stmt]) -> Result<(), Unsupported> {
        let info = &self.kernel.loops[var.index()];
        if matches!(info.kind, LoopKind::Unroll | LoopKind::UnrollFresh) {
            self.line("#pragma unroll");
        }
        let head = self.counted(var, &self.extent(info.extent));
        let before = self.pending.clone();
        let carried = self.memory_accesses(body);
        self.pending.add_carried(carried, &self.threads);
        self.braced(&head, |e| e.block(body))?;
        if matches!(info.extent, Extent::Size(_)) {
            // It may not run at all, and then no barrier in it counts.
            self.pending.merge(before);
        }
        Ok(())
    }

    pub fn counted(&self, var: VarId, extent: &str) -> String {
        let (name, ty) = (&self.vars[var.index()], self.index);
        format!("for ({ty} {name} = 0; {name} < {extent}; ++{name})")
    }

    /// Lanes are written out; where they lie side by side, one access moves them all.
    fn lanes_loop(&mut self, var: VarId, body: &[Stmt]) -> Result<(), Unsupported> {
        let outside = std::mem::take(&mut self.vectors);
        let stores = self.vector_accesses(var, body)?;
        self.line("#pragma unroll");
        match self.kernel.loops[var.index()].extent {
            Extent::Const(n) => self.braced(&self.counted(var, &n.to_string()), |e| e.block(body))?,
            size => {
                let active = format!("if ({} < {})", self.vars[var.index()], self.extent(size));
                let head = format!("{} {active}", self.counted(var, &self.kernel.lanes.to_string()));
                self.braced(&head, |e| e.block(body))?;
            }
        }
        for (buffer, at, name) in stores {
            let place = self.vector_place(var, buffer, &at)?;
            self.line(format!("{}{place} = {name};", self.first_only(buffer)));
        }
        self.vectors = outside;
        Ok(())
    }

    fn set(
        &mut self,
        target: BufferId,
        at: &Affine,
        combine: Option<Combine>,
        value: ExprId,
    ) -> Result<(), Unsupported> {
        let elem = self.kernel.storage[target.index()].elem;
        self.begin_statement(value);
        if let Some(name) = self.vectors.get(&(target, at.clone())).cloned() {
            let value = self.value(value)?;
            let lane = self.lane_of(at);
            self.line(format!("{name}.lane[{lane}] = {value};"));
            return Ok(());
        }
        let place = self.place(target, at);
        let value = match combine {
            None => self.value(value)?,
            Some(op) => self.combined(op, elem, &place, value)?,
        };
        self.line(format!("{}{place} = {value};", self.first_only(target)));
        Ok(())
    }

    /// Memory is written by the first thread in dimensions that no loop binds.
    fn first_only(&self, target: BufferId) -> String {
        let home = self.homes[target.index()];
        if matches!(home, Home::Thread { .. }) {
            return String::new();
        }
        let mut conditions = vec![];
        for (d, axis) in AXES.iter().enumerate() {
            let kind = LoopKind::Thread(d as u8);
            if self.shape.block[d] > 1 && !self.threads.iter().any(|v| self.kernel.loops[v.index()].kind == kind) {
                conditions.push(format!("threadIdx.{axis} == 0"));
            }
            let many = self.shape.grid[d].as_constant() != Some(1);
            if home == Home::Argument && many && !self.blocks.contains(&(d as u8)) {
                conditions.push(format!("blockIdx.{axis} == 0"));
            }
        }
        if conditions.is_empty() { String::new() } else { format!("if ({}) ", conditions.join(" && ")) }
    }

    /// `buffer[at]`.
    pub fn place(&self, buffer: BufferId, at: &Affine) -> String {
        let name = &self.buffers[buffer.index()];
        match (self.homes[buffer.index()], self.kernel.storage[buffer.index()].place) {
            (Home::Thread { len: 1 }, _) => name.clone(),
            (Home::Thread { .. }, Place::Register) => format!("{name}[{}]", self.affine(&in_thread(self.kernel, at))),
            _ => format!("{name}[{}]", self.affine(at)),
        }
    }

    pub fn extent(&self, extent: Extent) -> String {
        match extent {
            Extent::Const(n) => n.to_string(),
            Extent::Size(s) => self.sizes[s.index()].clone(),
        }
    }

    pub fn affine(&self, a: &Affine) -> String {
        let mut out = String::new();
        let mut push = |negative: bool, text: String| {
            let sign = match (negative, out.is_empty()) {
                (false, true) => "",
                (true, true) => "-",
                (false, false) => " + ",
                (true, false) => " - ",
            };
            out.push_str(sign);
            out.push_str(&text);
        };
        for term in a.terms() {
            let factor = Some(term.factor.unsigned_abs()).filter(|f| *f != 1).map(|f| f.to_string());
            let size = term.size.map(|s| self.sizes[s.index()].clone());
            let var = term.var.map(|v| self.vars[v.index()].clone());
            push(term.factor < 0, factor.into_iter().chain(size).chain(var).collect::<Vec<_>>().join(" * "));
        }
        if a.constant != 0 || a.terms().is_empty() {
            push(a.constant < 0, a.constant.unsigned_abs().to_string());
        }
        out
    }
}

pub(crate) fn c_type(elem: Elem) -> &'static str {
    match elem {
        Elem::F64 => "double",
        Elem::F32 => "float",
        Elem::I64 => "i64",
        Elem::I32 => "int",
        Elem::I16 => "short",
        Elem::I8 => "signed char",
        Elem::U64 => "u64",
        Elem::U32 => "u32",
        Elem::U16 => "u16",
        Elem::U8 => "u8",
        Elem::Bool => "bool",
        Elem::F16 => "f16",
        Elem::Bf16 => "bf16",
    }
}
