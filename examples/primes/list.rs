//! The function that the example serves and the bench calls in a loop.

/// All primes up to `n`, by trial division with every number from 2 on, stopping at the first
/// divisor: no square root, no sieve, no table. The benchmark of Tornado on PyPy-STM, slow on
/// purpose.
pub(crate) fn primes(n: u64) -> Vec<u64> {
    (2..=n).filter(|&candidate| (2..candidate).all(|i| candidate % i != 0)).collect()
}
