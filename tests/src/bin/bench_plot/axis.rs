// SPDX-License-Identifier: MIT OR Apache-2.0
//! A logarithmic scale.

/// From one power of ten to another, on so many pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    /// Exponents.
    low: i32,
    high: i32,
    length: f64,
}

impl Axis {
    /// With room for all of the values.
    pub(crate) fn of(values: impl Iterator<Item = f64>, length: f64) -> Self {
        let (least, most) =
            values.fold((f64::INFINITY, 0f64), |(least, most), value| (least.min(value), most.max(value)));
        let low = least.log10().floor() as i32;
        Self { low, high: (most.log10().ceil() as i32).max(low + 1), length }
    }

    /// How far from its beginning.
    pub(crate) fn place(self, value: f64) -> f64 {
        (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low) * self.length
    }

    /// The powers of ten.
    pub(crate) fn ticks(self) -> impl Iterator<Item = f64> {
        (self.low..=self.high).map(|exponent| 10f64.powi(exponent))
    }
}

/// With separators between thousands.
pub(crate) fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_ten_are_equally_apart() {
        let axis = Axis::of([20.0, 3000.0].into_iter(), 300.0);
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [10.0, 100.0, 1000.0, 10_000.0]);
        let places: Vec<_> = axis.ticks().map(|tick| axis.place(tick).round()).collect();
        assert_eq!(places, [0.0, 100.0, 200.0, 300.0]);
    }

    #[test]
    fn one_value_has_room() {
        let axis = Axis::of([1.0].into_iter(), 10.0);
        assert_eq!(axis.place(1.0), 0.0);
        assert_eq!(axis.ticks().count(), 2);
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!([1.0, 12.4, 999.6, 1e6].map(number), ["1", "12", "1,000", "1,000,000"]);
    }
}
