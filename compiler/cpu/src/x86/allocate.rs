//! The function as regalloc2 sees it: operands with their constraints.

use super::EmitError;
use crate::vir::{Function, Inst, IntOp, Memory, Op, Type, Value, VecOp};
use engine::Isa;
use regalloc2::{
    Algorithm, Block, InstRange, MachineEnv, Operand, OperandConstraint, OperandKind, OperandPos, Output, PReg,
    PRegSet, RegClass, RegallocOptions, VReg,
};

/// r11 and k7 are the encoder's own; rsp is the stack.
pub const SCRATCH_INT: usize = 11;
const STACK: usize = 4;

pub struct MachineFunction<'a> {
    pub function: &'a Function,
    pub isa: Isa,
    /// First instruction of each block, then the total.
    pub starts: Vec<usize>,
    insts: Vec<&'a Inst>,
    operands: Vec<Vec<Operand>>,
    predecessors: Vec<Vec<Block>>,
    successors: Vec<Vec<Block>>,
    params: Vec<Vec<VReg>>,
    arguments: Vec<Vec<VReg>>,
    vregs: usize,
}

impl<'a> MachineFunction<'a> {
    pub fn new(function: &'a Function, isa: Isa) -> Self {
        let mut code = MachineFunction {
            function,
            isa,
            starts: vec![0],
            insts: vec![],
            operands: vec![],
            predecessors: vec![vec![]; function.blocks.len()],
            successors: vec![],
            params: vec![],
            arguments: vec![],
            vregs: function.types.len(),
        };
        for (i, block) in function.blocks.iter().enumerate() {
            for inst in &block.insts {
                let operands = code.constraints(inst);
                code.insts.push(inst);
                code.operands.push(operands);
            }
            code.starts.push(code.insts.len());
            let vregs = |code: &Self, values: &[Value]| values.iter().map(|v| code.vreg(*v)).collect::<Vec<_>>();
            code.params.push(vregs(&code, &block.params));
            code.arguments.push(vregs(&code, &block.arguments));
            code.successors.push(block.successors.iter().map(|s| Block::new(s.0 as usize)).collect());
            for s in &block.successors {
                code.predecessors[s.0 as usize].push(Block::new(i));
            }
        }
        code
    }

    pub fn inst(&self, index: usize) -> &'a Inst {
        self.insts[index]
    }

    pub fn class(&self, ty: Type) -> RegClass {
        match (ty, self.isa) {
            (Type::I64, _) => RegClass::Int,
            (Type::Mask, Isa::Avx512) => RegClass::Vector,
            (Type::Vec | Type::Mask, _) => RegClass::Float,
        }
    }

    fn vreg(&self, value: Value) -> VReg {
        VReg::new(value.0 as usize, self.class(self.function.types[value.0 as usize]))
    }

    /// A register for the length of one instruction.
    fn temporary(&mut self) -> Operand {
        self.vregs += 1;
        early(VReg::new(self.vregs - 1, RegClass::Float))
    }

    /// Uses first, then temporaries, then the result.
    fn constraints(&mut self, inst: &Inst) -> Vec<Operand> {
        let mut operands: Vec<Operand> = inst.operands.iter().map(|v| Operand::reg_use(self.vreg(*v))).collect();
        let narrow = self.isa == Isa::Avx2;
        if narrow && matches!(inst.op, Op::Store { memory: Memory::U8 | Memory::U16, .. }) {
            operands.push(self.temporary());
        }
        let Some(result) = inst.result.map(|r| self.vreg(r)) else { return operands };
        let result = match inst.op {
            Op::Param(i) => {
                let register = [7, 6, 2][i as usize];
                Operand::reg_fixed_def(result, PReg::new(register, RegClass::Int))
            }
            Op::Int(IntOp::Add) => Operand::reg_def(result),
            Op::Int(_) | Op::ShrImm(_) | Op::Fma => Operand::reg_reuse_def(result, 0),
            Op::FmaAcc => Operand::reg_reuse_def(result, 2),
            Op::Gather { .. } => {
                if narrow {
                    operands.push(self.temporary());
                }
                early(result)
            }
            Op::Load { memory: Memory::U8 | Memory::U16, .. } if narrow => early(result),
            Op::Zip { .. } => {
                if narrow {
                    operands.push(self.temporary());
                }
                early(result)
            }
            Op::Reduce(_) => {
                operands.push(self.temporary());
                early(result)
            }
            Op::Vec(VecOp::Ldexp) if narrow => {
                operands.push(self.temporary());
                operands.push(self.temporary());
                early(result)
            }
            _ => Operand::reg_def(result),
        };
        operands.push(result);
        operands
    }

    pub fn allocate(&self) -> Result<Output, EmitError> {
        let registers = |class, indices: &mut dyn Iterator<Item = usize>| {
            let mut set = PRegSet::empty();
            indices.for_each(|i| set.add(PReg::new(i, class)));
            set
        };
        let ints = registers(RegClass::Int, &mut (0..16).filter(|i| *i != STACK && *i != SCRATCH_INT));
        let floats = registers(RegClass::Float, &mut (0..self.isa.registers()));
        let masks = registers(RegClass::Vector, &mut (1..7));
        let env = MachineEnv {
            preferred_regs_by_class: [ints, floats, masks],
            non_preferred_regs_by_class: [PRegSet::empty(); 3],
            scratch_by_class: [None; 3],
            fixed_stack_slots: vec![],
        };
        let options = RegallocOptions { verbose_log: false, validate_ssa: false, algorithm: Algorithm::Ion };
        regalloc2::run(self, &env, &options).map_err(|e| EmitError(format!("register allocation: {e}")))
    }
}

fn early(vreg: VReg) -> Operand {
    Operand::new(vreg, OperandConstraint::Reg, OperandKind::Def, OperandPos::Early)
}

impl regalloc2::Function for MachineFunction<'_> {
    fn num_insts(&self) -> usize {
        self.insts.len()
    }

    fn num_blocks(&self) -> usize {
        self.function.blocks.len()
    }

    fn entry_block(&self) -> Block {
        Block::new(0)
    }

    fn block_insns(&self, block: Block) -> InstRange {
        let range = |i: usize| regalloc2::Inst::new(self.starts[i]);
        InstRange::new(range(block.index()), range(block.index() + 1))
    }

    fn block_succs(&self, block: Block) -> &[Block] {
        &self.successors[block.index()]
    }

    fn block_preds(&self, block: Block) -> &[Block] {
        &self.predecessors[block.index()]
    }

    fn block_params(&self, block: Block) -> &[VReg] {
        &self.params[block.index()]
    }

    fn is_ret(&self, inst: regalloc2::Inst) -> bool {
        self.inst(inst.index()).op == Op::Return
    }

    fn is_branch(&self, inst: regalloc2::Inst) -> bool {
        matches!(self.inst(inst.index()).op, Op::Jump | Op::Branch)
    }

    fn branch_blockparams(&self, block: Block, _: regalloc2::Inst, _: usize) -> &[VReg] {
        &self.arguments[block.index()]
    }

    fn inst_operands(&self, inst: regalloc2::Inst) -> &[Operand] {
        &self.operands[inst.index()]
    }

    fn inst_clobbers(&self, _: regalloc2::Inst) -> PRegSet {
        PRegSet::empty()
    }

    fn num_vregs(&self) -> usize {
        self.vregs
    }

    fn spillslot_size(&self, class: RegClass) -> usize {
        match class {
            RegClass::Float => self.function.lanes / 2,
            RegClass::Int | RegClass::Vector => 1,
        }
    }
}
