//! Reproducible random ids.

/// SplitMix64 (Steele, Lea and Flood, 2014): small, fast, and good enough for ids that nobody must guess.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// What the numbers to come follow from.
    pub(crate) fn state(&self) -> u64 {
        self.0
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `bound`; zero for a bound of zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// At least zero and less than one.
    pub(crate) fn unit(&mut self) -> f64 {
        // So many bits a float has.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The prefix and so many letters and digits.
    pub(crate) fn id(&mut self, prefix: &str, length: usize) -> String {
        let mut id = String::with_capacity(prefix.len() + length);
        id.push_str(prefix);
        self.push(&mut id, length, ALPHANUMERIC);
        id
    }

    /// Capital letters and digits, as Stripe's coupons have.
    pub(crate) fn capitals(&mut self, length: usize) -> String {
        let mut id = String::with_capacity(length);
        self.push(&mut id, length, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
        id
    }

    fn push(&mut self, id: &mut String, length: usize, alphabet: &[u8]) {
        // Ten letters to a draw: 62^10 is just below 2^60.
        let mut bits = 0;
        for n in 0..length {
            if n % 10 == 0 {
                bits = self.next();
            }
            let size = alphabet.len() as u64;
            id.push(char::from(alphabet[(bits % size) as usize]));
            bits /= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_ids_and_another_seed_others() {
        let ids = |seed| {
            let mut random = Random::new(seed);
            [random.id("prod_", 14), random.capitals(8)]
        };
        assert_eq!(ids(1), ids(1));
        assert_ne!(ids(1), ids(2));
        assert_eq!((ids(1)[0].len(), ids(1)[1].len()), (19, 8));
        assert_eq!(Random::new(1).below(0), 0);
    }
}
