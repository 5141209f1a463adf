//! Watches what was handed over until every group is published or given up, and merges as it goes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use ceiling_core::plan::{Key, Plan};

use super::close::give_up;
use super::merge::{merge, unmerged};
use super::news::News;
use super::state::JobState;
use super::submit::{recover, submit, submit_open};
use super::system::{BatchSystem, Sighting};
use super::track::{Next, Track};
use crate::progress::Progress;
use crate::store::{ArrayId, Ledger, Shared, Submission};

/// The least time between two commands of the batch system, however many jobs there are.
pub const POLL: Duration = Duration::from_secs(5);

/// How often the shared directory is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How a submission ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Every group is published.
    Done,
    /// It was cancelled, and what had been measured is published.
    Cancelled,
}

/// Somebody who watches a submission.
pub struct Watch<'a> {
    shared: &'a Shared,
    plan: Arc<Plan>,
    submission: Submission,
    system: &'a dyn BatchSystem,
    progress: &'a Progress,
    tracks: Vec<Track>,
    news: News,
    /// The last thing that the batch system failed to say, and that was told.
    trouble: Option<String>,
    /// When the batch system may be asked.
    next_poll: Instant,
}

impl<'a> Watch<'a> {
    /// Begins to watch; nothing is known yet of the groups that are not published. The batch system was last asked
    /// at `asked`, if at all.
    pub fn new(
        shared: &'a Shared,
        plan: Arc<Plan>,
        submission: Submission,
        system: &'a dyn BatchSystem,
        progress: &'a Progress,
        asked: Option<Instant>,
    ) -> Self {
        let tracks = tracks(&submission);
        let next_poll = asked.map_or_else(Instant::now, |asked| asked + POLL);
        Self { shared, plan, submission, system, progress, tracks, news: News::default(), trouble: None, next_poll }
    }

    /// Watches until all is settled.
    pub async fn until_settled(&mut self, ledger: &mut Ledger) -> Result<Settled> {
        loop {
            self.look(ledger)?;
            if self.tracks.is_empty() {
                return Ok(if self.shared.is_cancelled() { Settled::Cancelled } else { Settled::Done });
            }
            if Instant::now() >= self.next_poll {
                self.poll();
                self.act()?;
                self.next_poll = Instant::now() + POLL;
                // What was given up is published by now.
                continue;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Merges what is published, and shows what goes on in the rest.
    fn look(&mut self, ledger: &mut Ledger) -> Result<()> {
        let groups = unmerged(self.shared, &self.plan)?;
        for group in &groups {
            self.news.of_published(self.shared, &self.plan, group, self.progress);
        }
        merge(self.shared, &groups, ledger)?;
        ledger.publish_news()?;
        let published: HashSet<String> = self.shared.all_published()?.into_iter().collect();
        self.tracks.retain(|track| !published.contains(track.group.as_str()));
        for track in self.tracks.iter().filter(|track| track.state == JobState::Running) {
            self.news.of_attempt(self.shared, &self.plan, &track.group, self.progress);
        }
        Ok(())
    }

    /// Asks the batch system about all groups that are not published. Where it does not answer, nothing is concluded.
    fn poll(&mut self) {
        let mut arrays: Vec<ArrayId> = self.tracks.iter().map(|track| track.array.clone()).collect();
        arrays.dedup();
        match self.system.poll(&arrays) {
            Ok(sightings) => {
                see(&mut self.tracks, &sightings);
                self.trouble = None;
                self.progress.note(&summary(&self.tracks));
            }
            Err(error) => self.complain(&error),
        }
    }

    /// Says what the batch system failed to do, once.
    fn complain(&mut self, error: &anyhow::Error) {
        let trouble = format!("{error:#}; asking again");
        if self.trouble.as_ref() != Some(&trouble) {
            self.progress.note(&trouble);
        }
        self.trouble = Some(trouble);
    }

    /// Submits again what was lost, as often as that may be done, and gives up the rest. What the batch system does not take now is
    /// handed to it the next time.
    fn act(&mut self) -> Result<()> {
        let is_cancelled = self.shared.is_cancelled();
        let is_open = self.submission.arrays.iter().any(|array| array.id.is_none());
        if is_open && !is_cancelled {
            let taken = recover(&mut self.submission, self.system)
                .and_then(|()| submit_open(self.shared, &mut self.submission, self.system));
            self.follow(taken);
        }
        let mut again = Vec::new();
        let open = |track: &Track| self.submission.is_open(&track.group) && !is_cancelled;
        for track in self.tracks.iter().filter(|track| !open(track)) {
            let Next::Lost(ending) = track.next() else { continue };
            let index = self.plan.groups.iter().position(|group| group.key == track.group);
            let retries = index.map_or(0, |index| self.plan.groups[index].execution.retries);
            let may_try = !is_cancelled && ending.is_worth_another_try() && track.submissions <= retries;
            if let Some(index) = index.filter(|_| may_try) {
                self.progress.note(&format!("{}; submitting it again", track.obituary(ending, self.system)));
                again.push(index);
                continue;
            }
            let (reason, log) = (track.obituary(ending, self.system), self.log_of(track));
            give_up(self.shared, &self.plan, track.group, (!is_cancelled).then_some(reason), log)?;
        }
        if !again.is_empty() {
            let taken = submit(self.shared, &self.plan, &again, &mut self.submission, self.system);
            self.follow(taken);
        }
        Ok(())
    }

    /// Follows the groups that are left to where they were handed over last, as far as that was `taken`.
    fn follow(&mut self, taken: Result<()>) {
        if let Err(error) = taken {
            self.complain(&error);
        }
        let left = self.tracks.iter().map(|track| track.group).collect::<HashSet<_>>();
        let old = std::mem::replace(&mut self.tracks, tracks(&self.submission));
        self.tracks.retain(|track| left.contains(&track.group));
        for track in &mut self.tracks {
            if let Some(old) = old.iter().find(|old| old.group == track.group && old.array == track.array) {
                *track = old.clone();
            }
        }
    }

    /// What the element printed, by its name from the directory of all results.
    fn log_of(&self, track: &Track) -> Option<String> {
        let path = self.shared.out().join(self.system.output_name(&track.array, track.element));
        path.is_file().then(|| self.shared.name_of(&path))
    }
}

/// The newest element of each group.
fn tracks(submission: &Submission) -> Vec<Track> {
    let mut tracks: Vec<Track> = Vec::new();
    let mut place: HashMap<Key, usize> = HashMap::new();
    for array in &submission.arrays {
        let Some(id) = &array.id else { continue };
        for (element, &group) in (0..).zip(&array.elements) {
            let at = place.get(&group).copied();
            let submissions = at.map_or(0, |at| tracks[at].submissions) + 1;
            let track = Track::new(group, id.clone(), element, submissions);
            match at {
                Some(at) => tracks[at] = track,
                None => {
                    place.insert(group, tracks.len());
                    tracks.push(track);
                }
            }
        }
    }
    tracks
}

fn see(tracks: &mut [Track], sightings: &[Sighting]) {
    let known: HashMap<(&ArrayId, u32), &Sighting> =
        sightings.iter().map(|sighting| ((&sighting.array, sighting.element), sighting)).collect();
    for track in tracks {
        let sighting = known.get(&(&track.array, track.element)).copied();
        track.see(sighting);
    }
}

/// `3 groups queued (Priority), 2 running`
fn summary(tracks: &[Track]) -> String {
    let of = |wanted: fn(&JobState) -> bool| tracks.iter().filter(move |track| wanted(&track.state));
    let queued = of(|state| matches!(state, JobState::Queued | JobState::Unknown(_)));
    let mut reasons: Vec<&str> =
        queued.clone().map(|track| &*track.reason).filter(|reason| !reason.is_empty()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let running = of(|state| matches!(state, JobState::Running)).count();
    let ending = of(|state| matches!(state, JobState::Ending | JobState::Ended(_))).count();
    let ending = if ending == 0 { String::new() } else { format!(", {ending} ending") };
    format!("engine groups: {} queued{reasons}, {running} running{ending}", queued.count())
}

/// Publishes and merges what is left of a submission of which no job is alive, as it stands.
pub fn settle(shared: &Shared, plan: &Arc<Plan>, ledger: &mut Ledger) -> Result<()> {
    for group in plan.groups.iter().map(|group| group.key) {
        let has_begun = shared.attempts(&group).is_dir();
        if has_begun && !shared.published(&group).exists() {
            give_up(shared, plan, group, None, None)?;
        }
    }
    merge(shared, &unmerged(shared, plan)?, ledger)?;
    ledger.publish_all()
}

/// A job whose element may still publish, as it is said of it.
pub fn alive(shared: &Shared, submission: &Submission, system: &dyn BatchSystem) -> Result<Option<String>> {
    let published: HashSet<String> = shared.all_published()?.into_iter().collect();
    let mut tracks = tracks(submission);
    tracks.retain(|track| !published.contains(track.group.as_str()));
    if tracks.is_empty() {
        return Ok(None);
    }
    let sightings = system.poll(&submission.ids())?;
    see(&mut tracks, &sightings);
    Ok(tracks.iter().find(|track| !matches!(track.state, JobState::Ended(_))).map(Track::whereabouts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::state::Ending;
    use crate::store::{Command, Submitted};

    fn key(name: &str) -> Key {
        Key::of_bytes(name.as_bytes())
    }

    fn submission() -> Submission {
        let array = |id: &str, elements: &[&str]| Submitted {
            name: format!("array {id}"),
            id: Some(ArrayId(id.to_owned())),
            script: "1.sh".into(),
            elements: elements.iter().map(|name| key(name)).collect(),
        };
        let command = Command { directory: "/".into(), words: vec![] };
        // Of the last it is not known that it was taken.
        let lost = Submitted { id: None, ..array("3", &["a"]) };
        let arrays = vec![array("1", &["a", "b"]), array("2", &["b"]), lost];
        Submission { arrays, ..Submission::new(command) }
    }

    #[test]
    fn a_group_is_followed_where_it_was_handed_over_last() {
        let tracks = tracks(&submission());
        let places: Vec<_> = tracks.iter().map(|t| (t.group, t.array.0.clone(), t.element, t.submissions)).collect();
        assert_eq!(places, [(key("a"), "1".to_owned(), 0, 1), (key("b"), "2".to_owned(), 0, 2)]);
    }

    #[test]
    fn a_summary_says_why_groups_wait() {
        let mut tracks = tracks(&submission());
        let seen = |array: &str, state, reason: &str| Sighting {
            array: ArrayId(array.to_owned()),
            element: 0,
            state,
            reason: reason.to_owned(),
        };
        see(&mut tracks, &[seen("1", JobState::Running, ""), seen("2", JobState::Queued, "Priority")]);
        assert_eq!(summary(&tracks), "engine groups: 1 queued (Priority), 1 running");
        see(&mut tracks, &[seen("1", JobState::Ended(Ending::Failed), "")]);
        assert_eq!(summary(&tracks), "engine groups: 0 queued, 0 running, 2 ending");
    }
}
