//! Rules that watch a metric.

use serde::{Deserialize, Serialize};

/// What happens when a metric gets no better.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Training ends after `patience` epochs that are not better than the best.
    EarlyStop { watch: String, patience: usize, upwards: bool },
    /// The rate is multiplied by `factor` after more than `patience` epochs in which the metric did not fall.
    Plateau { watch: String, rate: f64, factor: f64, patience: usize },
}

/// What a rule has seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub best: Option<f64>,
    /// Epochs since then.
    pub waited: usize,
    /// How often the rate was lowered.
    pub lowered: u32,
}

impl Rule {
    pub fn watch(&self) -> &str {
        match self {
            Rule::EarlyStop { watch, .. } | Rule::Plateau { watch, .. } => watch,
        }
    }

    pub fn ends_training(&self) -> bool {
        matches!(self, Rule::EarlyStop { .. })
    }

    /// Takes in the metric after an epoch; whether it is the best so far.
    pub fn observe(&self, value: f64, progress: &mut Progress) -> bool {
        let upwards = matches!(self, Rule::EarlyStop { upwards: true, .. });
        let better = progress.best.is_none_or(|best| if upwards { value > best } else { value < best });
        if better {
            (progress.best, progress.waited) = (Some(value), 0);
        } else {
            progress.waited += 1;
        }
        if let Rule::Plateau { patience, .. } = self
            && progress.waited > *patience
        {
            progress.lowered += 1;
            progress.waited = 0;
        }
        better
    }

    pub fn is_over(&self, progress: &Progress) -> bool {
        matches!(self, Rule::EarlyStop { patience, .. } if progress.waited >= *patience && progress.best.is_some())
    }

    /// The rate of a plateau.
    pub fn rate(&self, progress: &Progress) -> f64 {
        match self {
            Rule::Plateau { rate, factor, .. } => rate * factor.powi(progress.lowered as i32),
            Rule::EarlyStop { .. } => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_stopping_waits_for_its_patience() {
        let rule = Rule::EarlyStop { watch: "accuracy".into(), patience: 2, upwards: true };
        let mut progress = Progress::default();
        let mut see = |value| (rule.observe(value, &mut progress), rule.is_over(&progress));
        assert_eq!(
            [see(0.5), see(0.4), see(0.6), see(0.6), see(0.1)].map(|(best, _)| best),
            [true, false, true, false, false]
        );
        assert!(rule.is_over(&progress));
    }

    #[test]
    fn a_plateau_lowers_the_rate_and_starts_to_count_again() {
        let rule = Rule::Plateau { watch: "loss".into(), rate: 20.0, factor: 0.25, patience: 0 };
        let mut progress = Progress::default();
        let rates: Vec<f64> = [3.0, 2.0, 2.5, 2.5, 1.0]
            .map(|loss| {
                rule.observe(loss, &mut progress);
                rule.rate(&progress)
            })
            .to_vec();
        assert_eq!(rates, [20.0, 20.0, 5.0, 1.25, 1.25]);
    }
}
