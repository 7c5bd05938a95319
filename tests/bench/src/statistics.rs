//! What the runs come to.

/// The least, the middle and the greatest of some figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// The least.
    pub(crate) min: f64,
    /// The middle one; of an even number, the mean of both in the middle.
    pub(crate) median: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Summary {
    /// Of figures in any order; `None` without any.
    pub(crate) fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted[sorted.len() / 2];
        let lower = sorted[(sorted.len() - 1) / 2];
        Some(Self { min, median: f64::midpoint(lower, upper), max })
    }
}

/// What both servers managed in the rounds that count.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    /// Datagrams per second of Turnpike, round by round.
    pub(crate) turnpike: Vec<f64>,
    /// Datagrams per second of coturn, in the same rounds.
    pub(crate) coturn: Vec<f64>,
}

impl Comparison {
    /// Turnpike over coturn, of each round.
    pub(crate) fn ratios(&self) -> Vec<f64> {
        self.turnpike.iter().zip(&self.coturn).map(|(ours, theirs)| ours / theirs).collect()
    }

    /// The table that is printed: a line for each server, and the ratio.
    pub(crate) fn table(&self) -> String {
        let mut table =
            format!("{:<18}{:>10}{:>10}{:>10}\n", "datagrams/s", "min", "median", "max");
        for (name, figures) in [("turnpike", &self.turnpike), ("coturn", &self.coturn)] {
            if let Some(Summary { min, median, max }) = Summary::of(figures) {
                table += &format!("{name:<18}{min:>10.0}{median:>10.0}{max:>10.0}\n");
            }
        }
        if let Some(Summary { min, median, max }) = Summary::of(&self.ratios()) {
            table += &format!("{:<18}{min:>10.2}{median:>10.2}{max:>10.2}\n", "turnpike/coturn");
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let of = |figures: &[f64]| Summary::of(figures).map(|summary| summary.median);
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(of(&[7.0]), Some(7.0));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_ratios() {
        let comparison = Comparison {
            turnpike: vec![60_000.0, 50_000.0, 90_000.0],
            coturn: vec![40_000.0, 50_000.0, 45_000.0],
        };
        assert_eq!(comparison.ratios(), [1.5, 1.0, 2.0]);
        let expected = "\
datagrams/s              min    median       max
turnpike               50000     60000     90000
coturn                 40000     45000     50000
turnpike/coturn         1.00      1.50      2.00
";
        assert_eq!(comparison.table(), expected);
    }
}
