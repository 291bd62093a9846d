//! Latencies in buckets of at most 1.6 % width, so that a percentile is off by less than 1 %.

use std::time::Duration;

/// Values below this have a bucket each.
const EXACT: u64 = 128;

/// Buckets for each power of two above [`EXACT`].
const PER_OCTAVE: u64 = 64;

/// How often each latency occurred.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Occurrences by bucket; as long as the slowest latency needs.
    buckets: Vec<u64>,
    /// All occurrences.
    count: u64,
    /// The slowest latency in nanoseconds, exactly.
    max: u64,
}

impl Histogram {
    /// Adds one latency.
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let bucket = bucket_of(nanos);
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// Adds all latencies of another histogram.
    pub(crate) fn merge(&mut self, other: &Histogram) {
        if other.buckets.len() > self.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// The latency that `per_mille` of all latencies do not exceed; zero when there are none.
    pub(crate) fn percentile(&self, per_mille: u64) -> Duration {
        let rank = (self.count * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(middle_of(bucket).min(self.max));
            }
        }
        Duration::from_nanos(self.max)
    }

    /// The slowest latency.
    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }
}

/// The bucket of a value: the value itself, or its power of two and the 6 bits after the first.
fn bucket_of(value: u64) -> usize {
    if value < EXACT {
        return value as usize;
    }
    let shift = u64::from(value.ilog2() - PER_OCTAVE.ilog2());
    (EXACT + (shift - 1) * PER_OCTAVE + (value >> shift) - PER_OCTAVE) as usize
}

/// The value in the middle of a bucket.
fn middle_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let shift = (bucket - EXACT) / PER_OCTAVE + 1;
    let start = (PER_OCTAVE + (bucket - EXACT) % PER_OCTAVE) << shift;
    start + (1 << (shift - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_bucket_is_within_one_percent() {
        let mut value = 1_u64;
        while value < u64::MAX / 2 {
            for near in [value - 1, value, value + 1] {
                let middle = middle_of(bucket_of(near));
                assert_eq!(bucket_of(middle), bucket_of(near), "{near}");
                assert!(middle.abs_diff(near) * 100 <= near, "{near} is shown as {middle}");
            }
            value += value / 50 + 1;
        }
        assert_eq!(bucket_of(EXACT), bucket_of(EXACT - 1) + 1);
        assert!(bucket_of(u64::MAX) < 4096);
    }

    #[test]
    fn percentiles_of_a_known_run() {
        let (mut odd, mut even) = (Histogram::default(), Histogram::default());
        assert_eq!(odd.percentile(500), Duration::ZERO);
        for micros in 1..=10_000 {
            let half = if micros % 2 == 1 { &mut odd } else { &mut even };
            half.record(Duration::from_micros(micros));
        }
        odd.merge(&even);
        for (per_mille, exact) in [(500, 5000), (900, 9000), (990, 9900), (999, 9990)] {
            let shown = odd.percentile(per_mille).as_micros() as u64;
            assert!(shown.abs_diff(exact) * 100 <= exact, "{per_mille}: {shown} for {exact}");
        }
        assert_eq!(odd.max(), Duration::from_millis(10));
        assert_eq!(odd.percentile(1000), Duration::from_millis(10));
    }
}
