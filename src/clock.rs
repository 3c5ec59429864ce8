//! The two clocks of the house: seconds since boot for deadlines, Unix time for what is told to others.
//! It must never let a deadline rest on the wall clock alone: that one jumps.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

const NANOS: i64 = 1_000_000_000;
/// Where a hand-wound clock's boot time begins: an hour, so that tests may look back.
const HAND_START: u64 = 3600 * 1_000_000_000;

/// Nanoseconds since boot, counted through sleep: `CLOCK_BOOTTIME`, clock_gettime(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boottime(u64);

impl Boottime {
    /// The end of time: a deadline that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since boot.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// This moment and `span` more; stops at [`Boottime::NEVER`].
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this moment is; zero when it is before it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Where the time comes from: the kernel, or a test's hand. Cheap to clone; clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Kernel,
    Hand(Arc<Hand>),
}

#[derive(Debug)]
struct Hand {
    boot: AtomicU64,
    wall: AtomicI64,
    slept: AtomicU64,
}

impl Clock {
    /// The kernel's clocks.
    pub const fn system() -> Self {
        Self(Source::Kernel)
    }

    /// A clock that stands at `wall` Unix seconds until its [`Winder`] moves it.
    pub fn manual(wall: u64) -> (Self, Winder) {
        let wall = i64::try_from(wall).unwrap_or(i64::MAX).saturating_mul(NANOS);
        let hand =
            Arc::new(Hand { boot: AtomicU64::new(HAND_START), wall: AtomicI64::new(wall), slept: AtomicU64::new(0) });
        (Self(Source::Hand(Arc::clone(&hand))), Winder(hand))
    }

    /// Time since boot, sleep included.
    pub fn boot(&self) -> Boottime {
        match &self.0 {
            Source::Kernel => {
                let (secs, nanos) = kernel(ClockId::CLOCK_BOOTTIME);
                Boottime(secs.unsigned_abs().saturating_mul(NANOS.unsigned_abs()).saturating_add(u64::from(nanos)))
            }
            Source::Hand(hand) => Boottime(hand.boot.load(Ordering::Acquire)),
        }
    }

    /// How long the machine slept since it was booted: what CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC. Never too much,
    /// and too little by as long as this thread waited between the two.
    pub fn slept(&self) -> Duration {
        match &self.0 {
            Source::Kernel => {
                let (boot, (secs, nanos)) = (self.boot(), kernel(ClockId::CLOCK_MONOTONIC));
                Duration::from_nanos(boot.nanos()).saturating_sub(Duration::new(secs.unsigned_abs(), nanos))
            }
            Source::Hand(hand) => Duration::from_nanos(hand.slept.load(Ordering::Acquire)),
        }
    }

    /// Unix seconds; 0 for a wall clock set before 1970.
    pub fn wall(&self) -> u64 {
        u64::try_from(self.wall_nanos().0).unwrap_or(0)
    }

    /// Whether the wall clock was ever set: it says 2025 or later.
    pub fn is_set(&self) -> bool {
        self.wall() >= 1_735_689_600
    }

    /// Unix seconds and the nanoseconds after them, for timestamps.
    pub fn wall_nanos(&self) -> (i64, u32) {
        match &self.0 {
            Source::Kernel => kernel(ClockId::CLOCK_REALTIME),
            Source::Hand(hand) => {
                let wall = hand.wall.load(Ordering::Acquire);
                (wall.div_euclid(NANOS), u32::try_from(wall.rem_euclid(NANOS)).unwrap_or(0))
            }
        }
    }
}

/// The hand that moves a [`Clock::manual`].
#[derive(Debug)]
pub struct Winder(Arc<Hand>);

impl Winder {
    /// Lets `span` go by on both clocks.
    pub fn advance(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.0.boot.fetch_add(nanos, Ordering::AcqRel);
        self.0.wall.fetch_add(i64::try_from(nanos).unwrap_or(i64::MAX), Ordering::AcqRel);
    }

    /// The same while the machine sleeps.
    pub fn sleep(&self, span: Duration) {
        self.0.slept.fetch_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
        self.advance(span);
    }

    /// Sets the wall clock `seconds` on (or back, when negative), as an operator or NTP does; boot time stays.
    pub fn jump_wall(&self, seconds: i64) {
        self.0.wall.fetch_add(seconds.saturating_mul(NANOS), Ordering::AcqRel);
    }
}

/// Seconds and nanoseconds of a kernel clock.
fn kernel(id: ClockId) -> (i64, u32) {
    let now = clock_gettime(id).expect("invariant: both clocks exist since Linux 2.6.39 and the address is ours");
    (now.tv_sec(), u32::try_from(now.tv_nsec()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_wall_moves_no_deadline() {
        let (clock, winder) = Clock::manual(1_700_000_000);
        let deadline = clock.boot().plus(Duration::from_secs(60));
        winder.jump_wall(-3600);
        assert_eq!(clock.wall(), 1_699_996_400);
        assert!(clock.boot() < deadline);
        winder.advance(Duration::from_secs(60));
        assert_eq!(clock.boot(), deadline);
        assert_eq!(clock.wall(), 1_699_996_460);
    }

    #[test]
    fn sums_and_differences_stop_at_the_ends() {
        assert_eq!(Boottime::from_nanos(5).plus(Duration::MAX), Boottime::NEVER);
        assert_eq!(Boottime::from_nanos(5).since(Boottime::from_nanos(9)), Duration::ZERO);
    }

    #[test]
    fn clones_show_the_same_time() {
        let (clock, winder) = Clock::manual(0);
        let other = clock.clone();
        winder.advance(Duration::from_millis(1500));
        assert_eq!(other.wall_nanos(), (1, 500_000_000));
        assert_eq!(clock.boot(), other.boot());
    }

    #[test]
    fn a_wall_before_1970_is_told_as_such_to_logs_and_as_zero_to_protocols() {
        let (clock, winder) = Clock::manual(10);
        winder.jump_wall(-11);
        assert_eq!((clock.wall(), clock.wall_nanos()), (0, (-1, 0)));
    }

    #[test]
    fn the_kernels_clocks_go_forward() {
        let clock = Clock::system();
        let before = clock.boot();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.boot().since(before) >= Duration::from_millis(2));
        assert!(clock.wall() > 1_700_000_000);
        let slept = (0..100).map(|_| clock.slept());
        let (least, most) = slept.fold((Duration::MAX, Duration::ZERO), |(a, b), one| (a.min(one), b.max(one)));
        assert!(most - least < Duration::from_secs(5), "nobody slept meanwhile");
    }
}
