//! Work that may never end, in a thread of its own: a driver that waits for a broken GPU must not hold up the run.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a driver may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What `work` comes to; `None` where it takes too long, in which case it goes on by itself, unheard.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        // Nobody may be waiting any more.
        let _ = tell.send(work());
    });
    answer(told).await
}

/// The answer of a thread, if it comes in time.
pub async fn answer<T>(told: oneshot::Receiver<T>) -> Option<T> {
    timeout(PATIENCE, told).await.ok()?.ok()
}
