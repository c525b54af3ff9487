//! Hot loops, compiled once per instruction set and selected at run time.
//!
//! The loops are plain Rust that the compiler can vectorise. All copies have the same source, and none fuses
//! a multiplication with an addition, because Rust never does this implicitly. Therefore, all copies give the
//! same bits and differ only in speed. Tests run each kernel with every instruction set of the machine.

use core::fmt;
#[cfg(feature = "std")]
use std::sync::OnceLock;

use crate::prelude::*;

/// A loop over slices that is compiled once per instruction set.
///
/// `run` and all hot functions that it calls must be `#[inline(always)]`. A function is compiled for the
/// instruction set of the copy that it is inlined into; otherwise, for the portable one.
pub trait Kernel {
    /// Result of the loop.
    type Output;

    /// Runs the loop.
    fn run(self) -> Self::Output;
}

/// An instruction set that this processor supports. Values come only from [`InstructionSet::available`] and
/// [`InstructionSet::current`], so a value proves that its instructions may be used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InstructionSet(Isa);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isa {
    /// The instructions that the program was compiled for: by default SSE2 on x86-64, and NEON on aarch64.
    Portable,
    /// x86-64-v3 without its fused multiply-add.
    #[cfg(all(target_arch = "x86_64", feature = "simd"))]
    Avx2,
    /// x86-64-v4.
    #[cfg(all(target_arch = "x86_64", feature = "simd"))]
    Avx512,
}

/// Environment variable with the name of the set to use instead of the fastest one.
pub const VARIABLE: &str = "CDI_PRUNE_ISA";

impl InstructionSet {
    /// Supported by every processor that can run this program.
    pub const PORTABLE: Self = Self(Isa::Portable);

    /// All sets that this processor supports, the fastest last.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut, reason = "other processors have one set")]
        let mut sets = vec![Self::PORTABLE];
        #[cfg(all(target_arch = "x86_64", feature = "simd"))]
        {
            use std::arch::is_x86_feature_detected as has;
            let v3 = has!("avx2") && has!("bmi1") && has!("bmi2") && has!("lzcnt") && has!("popcnt");
            if v3 {
                sets.push(Self(Isa::Avx2));
            }
            let v4 = has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq");
            if v3 && v4 && has!("avx512vl") {
                sets.push(Self(Isa::Avx512));
            }
        }
        sets
    }

    /// The set to use: the one that `CDI_PRUNE_ISA` names, or else the fastest.
    ///
    /// # Errors
    /// If the variable names none of the available sets: a message with their names.
    #[cfg(feature = "std")]
    pub fn choose() -> Result<Self, String> {
        let sets = Self::available();
        let fastest = *sets.last().expect("the portable one is always there");
        let Some(name) = std::env::var_os(VARIABLE) else { return Ok(fastest) };
        sets.iter().copied().find(|set| name == set.name()).ok_or_else(|| {
            let names: Vec<&str> = sets.iter().map(|set| set.name()).collect();
            format!("{VARIABLE}={}: this processor has {}", name.to_string_lossy(), names.join(", "))
        })
    }

    /// The result of the first call of [`Self::choose`]; the fastest set if that is an error.
    pub fn current() -> Self {
        #[cfg(feature = "std")]
        {
            static CURRENT: OnceLock<InstructionSet> = OnceLock::new();
            *CURRENT.get_or_init(|| {
                Self::choose().unwrap_or_else(|_| *Self::available().last().expect("never empty"))
            })
        }
        #[cfg(not(feature = "std"))]
        Self::PORTABLE
    }

    /// `portable`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Isa::Portable => "portable",
            #[cfg(all(target_arch = "x86_64", feature = "simd"))]
            Isa::Avx2 => "avx2",
            #[cfg(all(target_arch = "x86_64", feature = "simd"))]
            Isa::Avx512 => "avx512",
        }
    }

    /// Runs the copy of the kernel that is compiled for this set.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Isa::Portable => kernel.run(),
            // SAFETY: only `available` creates this value, after it has checked that the processor has each
            // feature that `avx2` enables.
            #[cfg(all(target_arch = "x86_64", feature = "simd"))]
            Isa::Avx2 => unsafe { avx2(kernel) },
            // SAFETY: as above, for the features that `avx512` enables.
            #[cfg(all(target_arch = "x86_64", feature = "simd"))]
            Isa::Avx512 => unsafe { avx512(kernel) },
        }
    }
}

impl Default for InstructionSet {
    fn default() -> Self {
        Self::current()
    }
}

impl fmt::Debug for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(all(target_arch = "x86_64", feature = "simd"))]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(all(target_arch = "x86_64", feature = "simd"))]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// Runs a kernel with the current instruction set.
#[inline]
pub fn run<K: Kernel>(kernel: K) -> K::Output {
    InstructionSet::current().run(kernel)
}
