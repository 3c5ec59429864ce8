//! What waits for a person's answer, and which yeses are remembered, all under one lock. It never gives one process's yes
//! to another, nor one that was taken back.

use super::{ApprovalOptions, Matter, Unapproved, Waiting};
use crate::{
    attest::{AttestError, Instance, Portrait},
    clock::{Boottime, Clock},
    model::{ApprovalId, Approver, KeyName},
    sys::chance,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::{sync::Notify, time::timeout};
use tracing::info;

/// What was answered.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) enum Answer {
    Yes(Approver),
    No(Approver),
    /// The program that asked was given none in time.
    Late,
    /// The program that was to ask could not.
    Failed,
}

/// What is taken back or forgotten.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) enum Forget<'a> {
    All,
    Key(&'a KeyName),
}

/// All that waits, and all that is remembered.
pub(in crate::broker) struct Approvals {
    book: Mutex<Book>,
    pub(super) options: ApprovalOptions,
    clock: Clock,
    /// Told when there is something new to ask.
    news: Notify,
}

#[derive(Default)]
struct Book {
    /// The oldest first.
    prompts: Vec<Prompt>,
    /// The oldest first.
    yeses: Vec<Yes>,
    /// How often something was taken back.
    forgotten: u64,
}

/// One question to a person. Whoever asks the same waits for the same answer.
struct Prompt {
    id: ApprovalId,
    matter: Matter,
    instance: Instance,
    shown: Portrait,
    until: Boottime,
    callers: usize,
    answer: Option<Answer>,
    /// Told when it is answered or taken back.
    told: Arc<Notify>,
}

/// A yes that a process keeps, for just what was shown.
struct Yes {
    instance: Instance,
    matter: Matter,
    by: Approver,
}

/// A caller who waits. Gone, it takes its question back.
struct Caller<'a> {
    approvals: &'a Approvals,
    id: ApprovalId,
    until: Boottime,
    told: Arc<Notify>,
}

impl Approvals {
    pub(in crate::broker) fn new(options: ApprovalOptions, clock: Clock) -> Self {
        Self { book: Mutex::default(), options, clock, news: Notify::new() }
    }

    /// Whose yes the process has already.
    pub(super) fn remembered(&self, instance: &Instance, matter: &Matter) -> Option<Approver> {
        let fits = |yes: &&Yes| matter.remember && yes.matter == *matter && yes.instance.is(instance);
        self.book().yeses.iter().find(fits).map(|yes| yes.by)
    }

    /// Waits for a person's answer. `shown` is looked at only where nobody asks the same yet, and there is room.
    pub(super) async fn wait(
        &self,
        instance: Instance,
        matter: Matter,
        shown: impl Future<Output = Result<Portrait, AttestError>>,
    ) -> Result<Result<Approver, Unapproved>, AttestError> {
        let (joined, has_room, since) = {
            let mut book = self.book();
            (book.join(&instance, &matter), book.has_room(matter.uid, &self.options), book.forgotten)
        };
        let begun = match joined {
            Some(joined) => Ok(joined),
            None if !has_room => Err(Unapproved::Crowded),
            None => self.begin(instance, matter, shown.await?, since),
        };
        let (id, until, told) = match begun {
            Ok(begun) => begun,
            Err(no) => return Ok(Err(no)),
        };
        Ok(Caller { approvals: self, id, until, told }.answer().await)
    }

    fn begin(
        &self,
        instance: Instance,
        matter: Matter,
        shown: Portrait,
        since: u64,
    ) -> Result<(ApprovalId, Boottime, Arc<Notify>), Unapproved> {
        let mut book = self.book();
        // While the program was looked at: what was taken back then would be asked about after all.
        if book.forgotten != since {
            return Err(Unapproved::Withdrawn);
        }
        // Another caller was quicker.
        if let Some(joined) = book.join(&instance, &matter) {
            return Ok(joined);
        }
        if !book.has_room(matter.uid, &self.options) {
            return Err(Unapproved::Crowded);
        }
        // If the kernel has no randomness, nothing else works either.
        let id = ApprovalId(chance::number().unwrap_or_default());
        let (until, told) = (self.clock.boot().plus(self.options.timeout), Arc::<Notify>::default());
        let at = (id, until, told.clone());
        let pid = shown.processes.first().map(|process| process.pid);
        info!(%id, key = %matter.key, pid, "a person is asked for approval");
        book.prompts.push(Prompt { id, matter, instance, shown, until, callers: 1, answer: None, told });
        self.news.notify_one();
        Ok(at)
    }

    /// The next question to be asked: the oldest that has a second left.
    pub(super) async fn next(&self) -> Waiting {
        loop {
            // One that comes after this look is told all the same.
            if let Some(next) = self.waiting().into_iter().find(|waiting| waiting.expires_in > 0) {
                return next;
            }
            self.news.notified().await;
        }
    }

    /// Returns when a question does not wait any more.
    pub(super) async fn closed(&self, id: ApprovalId) {
        loop {
            let told = self.book().open().find(|prompt| prompt.id == id).map(|prompt| prompt.told.clone());
            let Some(told) = told else { return };
            let told = told.notified();
            tokio::pin!(told);
            if told.as_mut().enable() || !self.is_open(id) {
                return;
            }
            told.await;
        }
    }

    fn is_open(&self, id: ApprovalId) -> bool {
        self.book().open().any(|prompt| prompt.id == id)
    }

    /// What waits now, the oldest first.
    pub(in crate::broker) fn waiting(&self) -> Vec<Waiting> {
        let now = self.clock.boot();
        let book = self.book();
        // Nobody is asked about a process that has ended, though somebody else still holds its connection.
        let asked = |prompt: &&Prompt| now < prompt.until && prompt.instance.is_alive();
        book.open().filter(asked).map(|prompt| prompt.waiting(now)).collect()
    }

    /// Whoever waited too long while the machine slept is told at once: their timers stood still.
    pub(in crate::broker) fn look_at_clocks(&self) {
        let now = self.clock.boot();
        self.book().open().filter(|prompt| prompt.until <= now).for_each(|late| late.told.notify_waiters());
    }

    /// How many questions wait.
    pub(in crate::broker) fn count(&self) -> usize {
        self.book().open().count()
    }

    /// Answers one question, and says how many callers hear it; none where it does not wait any more. `may` is asked
    /// about the process that asks.
    pub(in crate::broker) fn answer<E>(
        &self,
        id: ApprovalId,
        answer: Answer,
        may: impl FnOnce(&Instance) -> Result<(), E>,
    ) -> Result<Option<usize>, E> {
        let now = self.clock.boot();
        let mut book = self.book();
        let waits = |prompt: &&mut Prompt| prompt.id == id && prompt.answer.is_none() && now < prompt.until;
        let Some(prompt) = book.prompts.iter_mut().find(waits) else {
            return Ok(None);
        };
        may(&prompt.instance)?;
        prompt.answer = Some(answer);
        prompt.told.notify_waiters();
        let callers = prompt.callers;
        if let Answer::Yes(by) = answer
            && prompt.matter.remember
        {
            let yes = Yes { instance: prompt.instance.clone(), matter: prompt.matter.clone(), by };
            book.keep(yes, self.options.kept);
        }
        Ok(Some(callers))
    }

    /// Takes back what waits and forgets what is remembered.
    pub(in crate::broker) fn forget(&self, which: Forget<'_>) {
        let named = |key: &KeyName| match which {
            Forget::All => true,
            Forget::Key(only) => key == only,
        };
        let mut book = self.book();
        book.forgotten += 1;
        book.yeses.retain(|yes| !named(&yes.matter.key));
        for gone in book.prompts.extract_if(.., |prompt| named(&prompt.matter.key)) {
            gone.told.notify_waiters();
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn open(&self) -> impl Iterator<Item = &Prompt> {
        self.prompts.iter().filter(|prompt| prompt.answer.is_none())
    }

    /// One more caller of a question that is asked already.
    fn join(&mut self, instance: &Instance, matter: &Matter) -> Option<(ApprovalId, Boottime, Arc<Notify>)> {
        let same =
            |prompt: &&mut Prompt| prompt.answer.is_none() && prompt.matter == *matter && prompt.instance.is(instance);
        let prompt = self.prompts.iter_mut().find(same)?;
        prompt.callers += 1;
        Some((prompt.id, prompt.until, prompt.told.clone()))
    }

    fn has_room(&self, uid: u32, options: &ApprovalOptions) -> bool {
        let own = self.prompts.iter().filter(|prompt| prompt.matter.uid == uid).count();
        self.prompts.len() < options.waiting && own < options.waiting_per_uid
    }

    /// The oldest make room for the latest; those of processes that have ended first.
    fn keep(&mut self, yes: Yes, most: usize) {
        self.yeses.retain(|yes| yes.instance.is_alive());
        let over = (self.yeses.len() + 1).saturating_sub(most);
        self.yeses.drain(..over.min(self.yeses.len()));
        self.yeses.push(yes);
    }
}

impl Prompt {
    fn waiting(&self, now: Boottime) -> Waiting {
        Waiting {
            id: self.id,
            key: self.matter.key.clone(),
            rule: self.matter.rule.clone(),
            remembered: self.matter.remember,
            callers: self.callers,
            expires_in: self.until.since(now).as_secs(),
            asks: self.matter.asks.clone(),
            caller: self.shown.clone(),
        }
    }
}

impl Caller<'_> {
    async fn answer(self) -> Result<Approver, Unapproved> {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            // From here on nothing that is told is missed.
            told.as_mut().enable();
            if let Some(answer) = self.answered() {
                return answer;
            }
            let left = self.until.since(self.approvals.clock.boot());
            if left.is_zero() {
                return Err(Unapproved::Late);
            }
            let _ = timeout(left, told).await;
        }
    }

    fn answered(&self) -> Option<Result<Approver, Unapproved>> {
        let book = self.approvals.book();
        let Some(prompt) = book.prompts.iter().find(|prompt| prompt.id == self.id) else {
            return Some(Err(Unapproved::Withdrawn));
        };
        prompt.answer.map(|answer| match answer {
            Answer::Yes(by) => Ok(by),
            Answer::No(by) => Err(Unapproved::No(by)),
            Answer::Late => Err(Unapproved::Late),
            Answer::Failed => Err(Unapproved::Failed),
        })
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        let mut book = self.approvals.book();
        let Some(at) = book.prompts.iter().position(|prompt| prompt.id == self.id) else { return };
        book.prompts[at].callers -= 1;
        if book.prompts[at].callers == 0 {
            book.prompts.remove(at).told.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attest::{AttestOptions, Attestor},
        policy::Given,
    };
    use std::{
        os::{fd::AsFd, unix::net::UnixStream},
        pin::pin,
        time::Duration,
    };

    const YES: Answer = Answer::Yes(Approver { how: "control", uid: 0, pid: None });

    fn book() -> (Approvals, crate::clock::Winder) {
        let (clock, winder) = Clock::manual(1_800_000_000);
        let timeout = Duration::from_secs(60);
        let options = ApprovalOptions { ask: None, timeout, waiting: 9, waiting_per_uid: 9, kept: 9 };
        (Approvals::new(options, clock), winder)
    }

    /// This process, and how it is shown.
    async fn asks() -> (Instance, Portrait) {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let attestor = Attestor::new(AttestOptions { exe_bytes: 1, exe_hashes: 1, tcp_lookups: 1 });
        let peer = attestor.meet(ours.as_fd(), "broker").unwrap();
        (attestor.instance(&peer).unwrap(), attestor.portrait(&peer).await.unwrap())
    }

    fn matter(ttl: &str) -> Matter {
        let asks = vec![Given { what: "ttl", how: ttl.into() }];
        Matter { key: "a/b".parse().unwrap(), rule: "r".into(), uid: 0, remember: true, asks }
    }

    async fn soon<F: Future>(waits: F) -> Option<F::Output> {
        timeout(Duration::from_millis(50), waits).await.ok()
    }

    #[tokio::test]
    async fn a_yes_after_a_sleep_that_was_longer_than_the_patience_is_none() {
        let ((approvals, winder), (instance, shown)) = (book(), asks().await);
        let mut waits = pin!(approvals.wait(instance, matter("60s"), async { Ok(shown) }));
        assert!(soon(&mut waits).await.is_none());
        let id = approvals.waiting()[0].id;
        winder.sleep(Duration::from_secs(3600));
        assert!(approvals.waiting().is_empty(), "nobody is asked any more");
        assert!(matches!(approvals.answer(id, YES, |_| Ok::<_, ()>(())), Ok(None)));
        approvals.look_at_clocks();
        assert!(matches!(soon(&mut waits).await, Some(Ok(Err(Unapproved::Late)))), "though its timer stood still");
    }

    #[tokio::test]
    async fn a_yes_is_good_for_what_was_shown_and_not_for_what_the_rule_gives_later() {
        let ((approvals, _winder), (instance, shown)) = (book(), asks().await);
        let mut waits = pin!(approvals.wait(instance.clone(), matter("60s"), async { Ok(shown) }));
        assert!(soon(&mut waits).await.is_none());
        let id = approvals.waiting()[0].id;
        assert!(matches!(approvals.answer(id, YES, |_| Ok::<_, ()>(())), Ok(Some(1))));
        assert!(approvals.remembered(&instance, &matter("60s")).is_some());
        assert!(approvals.remembered(&instance, &matter("24h")).is_none());
    }
    #[tokio::test]
    async fn what_is_taken_back_while_the_caller_is_looked_at_is_not_asked_about() {
        let ((approvals, _winder), (instance, shown)) = (book(), asks().await);
        let looked_at = Notify::new();
        let look = async {
            looked_at.notified().await;
            Ok(shown)
        };
        let mut waits = pin!(approvals.wait(instance, matter("60s"), look));
        assert!(soon(&mut waits).await.is_none());
        approvals.forget(Forget::All);
        looked_at.notify_one();
        assert!(matches!(soon(&mut waits).await, Some(Ok(Err(Unapproved::Withdrawn)))));
        assert!(approvals.waiting().is_empty());
    }
}
