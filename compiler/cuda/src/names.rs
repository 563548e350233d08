//! Identifiers: the kernel's own names where C++ allows them.

use std::collections::HashSet;

/// Keywords of C++, and names that the text or its prelude uses.
const RESERVED: &str = "alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t \
    char8_t class co_await co_return co_yield compl concept const const_cast consteval constexpr constinit continue \
    decltype default delete do double dynamic_cast else enum explicit export extern false float for friend goto if \
    inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public \
    register reinterpret_cast requires return short signed sizeof static static_assert static_cast struct switch \
    template this thread_local throw true try typedef typeid typename union unsigned using virtual void volatile \
    wchar_t while xor xor_eq i64 u64 u32 u16 u8 error shared threadIdx blockIdx blockDim gridDim warpSize NULL \
    fabs fabsf sqrt sqrtf floor floorf ceil ceilf rint rintf trunc truncf fma fmaf fmod fmodf";

#[derive(Default)]
pub(crate) struct Names {
    taken: HashSet<String>,
}

impl Names {
    pub fn new() -> Names {
        Names { taken: RESERVED.split_whitespace().map(String::from).collect() }
    }

    /// An identifier for `name`, used by nothing else.
    pub fn unique(&mut self, name: &str) -> String {
        let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        // Leading underscores and digits are not ours to use, nor are the prelude's names.
        let clean = match clean.chars().next() {
            Some(c) if c.is_ascii_alphabetic() && !clean.to_ascii_lowercase().starts_with("nnc") => clean,
            _ => format!("n{clean}"),
        };
        let free = |name: &String| !self.taken.contains(name);
        let separator = if clean.ends_with(|c: char| c.is_ascii_digit()) { "_" } else { "" };
        let numbered = (1..).map(|i| format!("{clean}{separator}{i}"));
        let name = std::iter::once(clean.clone()).chain(numbered).find(free).expect("finitely many names are taken");
        self.taken.insert(name.clone());
        name
    }
}
