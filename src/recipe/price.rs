//! What models cost, as the owner's config says. No provider is asked, and no currency is known.

use crate::model::{Malformed, Pattern, Usage};
use std::str::FromStr;

/// All prices, in the order of the config; the first that fits decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices(pub Vec<Price>);

/// What some models of a provider cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// The provider's name.
    pub provider: String,
    /// Patterns of model names.
    pub models: Vec<Pattern>,
    /// Of input that has to do with no cache.
    pub input: PerMillion,
    /// Of output, reasoning too.
    pub output: PerMillion,
    /// Of input out of a cache; `input` where nothing is said.
    pub cached_input: Option<PerMillion>,
    /// Of input put into a cache; `input` where nothing is said.
    pub cache_write: Option<PerMillion>,
}

/// The price of a million tokens, in millionths of the owner's unit of money.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerMillion(pub u64);

impl PerMillion {
    /// The highest price: a million for a million tokens.
    pub const MAX: Self = Self(1_000_000_000_000);
}

impl FromStr for PerMillion {
    type Err = Malformed;

    /// Reads a decimal number, exactly: `0.4`, `12`, `0.000001`.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let fault = || {
            let words = "a price is a number from 0 to 1000000 with at most six digits behind the point: 0.4";
            Malformed(words.to_owned())
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || whole.len() > 7 || fraction.len() > 6 {
            return Err(fault());
        }
        let micros = format!("{whole}{fraction:0<6}").parse().map_err(|_| fault())?;
        Some(Self(micros)).filter(|price| *price <= Self::MAX).ok_or_else(fault)
    }
}

impl Prices {
    /// What a call cost, in millionths, rounded up; beyond all bounds the greatest number. By the first price that fits;
    /// where none does, what the provider itself said; none when nobody knows.
    pub fn cost(&self, provider: &str, model: &str, usage: &Usage) -> Option<u64> {
        self.of(provider, model).map(|price| price.cost(usage)).or(usage.cost_micros)
    }

    /// The price of a model.
    pub fn of(&self, provider: &str, model: &str) -> Option<&Price> {
        let fits =
            |price: &&Price| price.provider == provider && price.models.iter().any(|pattern| pattern.matches(model));
        self.0.iter().find(fits)
    }
}

impl Price {
    /// What so much use of such a model costs, in millionths, rounded up.
    pub fn cost(&self, usage: &Usage) -> u64 {
        let plain = usage.input.saturating_sub(usage.cached_input).saturating_sub(usage.cache_write);
        let parts = [
            (plain, self.input),
            (usage.cached_input, self.cached_input.unwrap_or(self.input)),
            (usage.cache_write, self.cache_write.unwrap_or(self.input)),
            (usage.output, self.output),
        ];
        let of = |(tokens, price): (u64, PerMillion)| u128::from(tokens) * u128::from(price.0);
        let whole = parts.map(of).into_iter().fold(0, u128::saturating_add);
        u64::try_from(whole.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn price(provider: &str, models: &str, input: &str, output: &str) -> Price {
        Price {
            provider: provider.into(),
            models: vec![models.parse().unwrap()],
            input: input.parse().unwrap(),
            output: output.parse().unwrap(),
            cached_input: None,
            cache_write: None,
        }
    }

    #[test]
    fn a_price_is_read_exactly_or_not_at_all() {
        let read = |text: &str| text.parse::<PerMillion>().map(|price| price.0).ok();
        assert_eq!(read("0.4"), Some(400_000));
        assert_eq!((read("12"), read("0"), read("0.0")), (Some(12_000_000), Some(0), Some(0)));
        assert_eq!((read("0.000001"), read("1000000")), (Some(1), Some(PerMillion::MAX.0)));
        for bad in
            ["", ".", ".5", "5.", "-1", "+1", "1e3", "1_000", "0.0000001", "1000000.1", "99999999", "nan", "inf", " 1"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_kind_of_token_has_its_price() {
        let usage = Usage { input: 1000, cached_input: 600, cache_write: 100, output: 50, ..Usage::default() };
        let mut price = price("anthropic", "claude-*", "3", "15");
        assert_eq!(price.cost(&usage), 3 * 1000 + 15 * 50, "without prices of their own, cached tokens are no cheaper");
        price.cached_input = "0.3".parse().ok();
        price.cache_write = "3.75".parse().ok();
        assert_eq!(price.cost(&usage), 3 * 300 + 180 + 375 + 15 * 50);
    }

    #[test]
    fn the_first_price_that_fits_decides_and_the_providers_word_is_the_last() {
        let prices = Prices(vec![
            price("dashscope", "qwen-max*", "2", "6"),
            price("dashscope", "qwen-*", "0.4", "1.2"),
            price("openrouter", "**", "1", "1"),
        ]);
        let usage = Usage { input: 10, output: 10, cost_micros: Some(7), ..Usage::default() };
        assert_eq!(prices.cost("dashscope", "qwen-max-latest", &usage), Some(80));
        assert_eq!(prices.cost("dashscope", "qwen-plus", &usage), Some(16));
        assert_eq!(prices.cost("openrouter", "qwen/qwen-plus", &usage), Some(20));
        assert_eq!(prices.cost("dashscope", "wan-video", &usage), Some(7));
        assert_eq!(prices.cost("openai", "qwen-plus", &Usage { cost_micros: None, ..usage }), None);
    }

    #[test]
    fn a_fraction_is_rounded_up_and_nothing_overflows() {
        let price = price("x", "*", "0.000001", "1000000");
        assert_eq!(price.cost(&Usage { input: 1, ..Usage::default() }), 1);
        assert_eq!(price.cost(&Usage::default()), 0);
        let vast = Usage {
            input: u64::MAX,
            output: u64::MAX,
            cached_input: u64::MAX,
            cache_write: u64::MAX,
            ..Usage::default()
        };
        assert_eq!(price.cost(&vast), u64::MAX);
    }

    proptest! {
        #[test]
        fn more_use_never_costs_less(input in any::<u64>(), output in any::<u64>(), more in any::<u64>(), rate in 0..=PerMillion::MAX.0) {
            let price = Price { input: PerMillion(rate), ..price("x", "*", "1", "2.5") };
            let cost = |input: u64, output: u64| price.cost(&Usage { input, output, ..Usage::default() });
            prop_assert!(cost(input, output) <= cost(input.saturating_add(more), output));
            prop_assert!(cost(input, output) <= cost(input, output.saturating_add(more)));
        }
    }
}
