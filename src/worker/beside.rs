//! A request beside the load, which nobody judges: before a load it brings what prompts share into the cache, after it it shows that
//! the engine has come to the end of what it was doing.

use std::sync::mpsc::{Receiver, RecvTimeoutError};

use ceiling_core::protocol::Command;
use ceiling_core::units::Seconds;
use ceiling_core::workload::Prompt;

use crate::clock;
use crate::heard::{Heard, RequestId, Seen};
use crate::interrupted::{Interrupted, end_or_ignore, silent};
use crate::vllm::{Draft, Vllm};

/// Number of a request that is none of the load's.
pub const INDEX: u32 = u32::MAX;

/// The least that is a prompt of the same kind.
pub fn shortest(prompt: Prompt) -> Prompt {
    match prompt {
        Prompt::Tokens(tokens) => Prompt::Tokens(tokens.into_iter().take(1).collect()),
        Prompt::Text(_) => Prompt::Text("a".to_owned()),
    }
}

/// What the executor said meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Nothing,
    Stop,
}

/// Lets the engine answer a request beside the load with one token.
pub fn answer(
    prompt: Prompt,
    run: u32,
    limit: Seconds,
    vllm: &Vllm,
    heard: &Receiver<Heard>,
) -> Result<Told, Interrupted> {
    let id = RequestId { run, index: INDEX };
    let sampling = vllm.sampling(1).map_err(Interrupted::Refused)?;
    let request = vllm.prepare(Draft::new(id, prompt), &sampling).map_err(Interrupted::Refused)?;
    vllm.submit(vec![request]).map_err(Interrupted::Gone)?;
    its_end(id, limit, heard)
}

/// Waits until a request has ended, in whatever way.
fn its_end(id: RequestId, limit: Seconds, heard: &Receiver<Heard>) -> Result<Told, Interrupted> {
    let until = clock::monotonic() + limit.get();
    let ends = |seen: &Seen| match seen {
        Seen::Submitted { .. } => false,
        Seen::Output(output) => output.finish.is_some(),
        Seen::Rejected { .. } => true,
    };
    let mut told = Told::Nothing;
    loop {
        let left = Seconds::new(until - clock::monotonic())
            .ok_or_else(|| Interrupted::Gone(silent(limit, "did not answer one request beside the load")))?;
        match heard.recv_timeout(left.to_std()) {
            Ok(Heard::Step(step)) if step.seen.iter().any(|(of, seen)| *of == id && ends(seen)) => return Ok(told),
            Ok(Heard::Asked(Command::Stop)) => told = Told::Stop,
            Ok(other) => end_or_ignore(other)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Interrupted::Leave),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use ceiling_core::protocol::{EngineError, EngineErrorKind};

    use super::*;
    use crate::heard::{Output, Step};

    #[test]
    fn a_request_beside_the_load_is_waited_for_whatever_else_is_heard() {
        let (mine, limit) = (RequestId { run: 3, index: INDEX }, Seconds::from(Duration::from_secs(60)));
        let output = |finish: Option<&str>| {
            Seen::Output(Output { tokens: 1, finish: finish.map(str::to_owned), ..Output::default() })
        };
        let step = |id, seen| Heard::Step(Step { seen: vec![(id, seen)], ..Step::default() });
        let others = || {
            vec![
                step(RequestId { run: 3, index: 0 }, output(Some("abort"))),
                step(RequestId { run: 2, index: INDEX }, output(Some("length"))),
                step(mine, Seen::Submitted { at: 0.0 }),
                step(mine, output(None)),
            ]
        };
        let told = |last: Vec<Heard>| {
            let (tell, heard) = channel();
            others().into_iter().chain(last).for_each(|one| tell.send(one).unwrap());
            drop(tell);
            its_end(mine, limit, &heard)
        };
        let rejected = || Seen::Rejected { at: 0.0, reason: "too many".to_owned() };
        assert!(matches!(told(vec![step(mine, output(Some("length")))]), Ok(Told::Nothing)));
        assert!(matches!(told(vec![step(mine, rejected())]), Ok(Told::Nothing)));
        let stop = vec![Heard::Asked(Command::Stop), step(mine, output(Some("length")))];
        assert!(matches!(told(stop), Ok(Told::Stop)));
        assert!(matches!(told(vec![]), Err(Interrupted::Leave)), "nothing of these was its end");
        let dead = EngineError { kind: EngineErrorKind::Engine, message: "dead".to_owned() };
        assert!(matches!(told(vec![Heard::Gone(dead)]), Err(Interrupted::Gone(_))));
        let (_tell, heard) = channel();
        assert!(matches!(its_end(mine, Seconds::ZERO, &heard), Err(Interrupted::Gone(_))), "silent");
    }
}
