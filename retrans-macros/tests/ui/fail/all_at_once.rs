// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every mistake is reported, and the uses of the wrong tables cause no further errors.
use retrans_sdk::reason_table;
use retrans_sdk::reason_table::ReasonTable;

/// The class, itself wrong.
#[reason_table(key = "Class")]
#[derive(Default)]
enum Class {
    /// Fine.
    #[reason(value = "OK")]
    #[default]
    Ok = 0,
    /// Not fine.
    #[reason(value = "other")]
    Other,
}

/// A correct table with a wrong class.
#[reason_table(key = "right", class = Class, unlisted = Other)]
enum Right {
    /// One.
    #[reason(value = "one", class = Ok)]
    One = 1,
}

/// A table with many mistakes.
#[reason_table(key = "wrong", class = Class, colour = "red")]
enum Wrong {
    /// One.
    #[reason(value = "One", c_name = "ONE", class = Ok)]
    One = 1,
    #[reason(value = "two", c_name = "ONE", class = Ok)]
    Two = 1,
    /// Three.
    #[reason(value = "two", class = "ok", class = Ok)]
    Three(u8) = 3,
    /// Four.
    Four = 0x10000,
    /// Five.
    #[reason(value = "two" class = Ok)]
    Five,
}

/// A table that does not name its class.
#[reason_table(key = "vague")]
pub enum Vague {
    /// One.
    #[reason(value = "one", class = Ok)]
    One = 1,
}

fn generic<T: ReasonTable>(value: T) -> String {
    let all: Vec<&str> = T::ALL.iter().map(|entry| entry.value).collect();
    format!("{} {value} {value:?} {:?} {}", T::KEY, value.entry(), all.join(","))
}

fn exhaustive(wrong: Wrong) -> u8 {
    match wrong {
        Wrong::One | Wrong::Two => 1,
        Wrong::Three(n) => n,
        Wrong::Four => 4,
        Wrong::Five => 5,
        Wrong::Unlisted(unknown) => u8::try_from(unknown.number()).unwrap_or_default(),
    }
}

const NAME: &str = Wrong::One.as_str().unwrap();
const LENGTH: usize = NAME.len() + Right::ALL[0].value.len() + Wrong::ALL.len() + Wrong::KEY.len();
const DESCRIPTION: [u8; Wrong::Two.description().len()] = [0; Wrong::Two.description().len()];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    use Wrong::{Five, Four};
    let parsed: Wrong = "two".parse()?;
    let made = [Four, Five, Wrong::Three(3), Wrong::from_raw(3)];
    println!("{parsed} {made:?} {} {}", exhaustive(parsed), generic(parsed));
    println!("{} {} {LENGTH} {DESCRIPTION:?}", parsed.key_val(), parsed.raw());
    if parsed.class() == Class::Ok && parsed.class() != Class::default() && parsed < Four {
        println!("{:?} {:?}", parsed.class().as_str(), Right::One.class().c_name());
    }
    match Vague::One.class() {
        Class::Ok => println!("{}", Vague::One.class().as_str().unwrap_or("none")),
        other => println!("{other}"),
    }
    println!("{}", generic(Right::One) + &generic(Vague::from_raw(7)) + &generic(Class::Ok));
    Ok(())
}
