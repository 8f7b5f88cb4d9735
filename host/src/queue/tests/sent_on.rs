//! Copies for other servers, in a name that is made when they go.

use super::*;
use crate::{
    config::Destination,
    deliver::smtp::fake::{Fake, Log, Server, means},
    dns::Resolver,
};

/// The server takes nothing yet: each attempt has a name of its own, and what no plugin sends on has its sender's.
#[tokio::test]
async fn the_name_is_made_when_the_mail_goes() {
    let rig = Rig::new();
    let server = Server::start('x').await;
    let text = format!("domains = ['*']\nhosts = ['{}']\ntls = 'none'", server.address);
    let destination: Destination = toml::from_str(&text).unwrap();
    rig.change(|config| {
        config.destinations = vec![destination.clone()];
        (config.queue.retry_first, config.queue.retry_most) = (1, 1);
    });
    let log = Log::default();
    let resolver = Resolver::told(&BTreeMap::new()).unwrap();
    let courier = Courier::new(&rig.config.load(), Arc::new(Fake(log.clone())), resolver, means());
    let to = |local: &str| NewEntry::to(Address { local: local.into(), domain: "far.test".into() }, Route::Relay);
    accept_from(&rig.store, "anna", b"x", vec![NewEntry { sent_on: true, ..to("copy") }, to("own")]).await;
    assert_eq!(rig.house.named.load(Ordering::Relaxed), 0, "not before");
    let (stop, stopped) = watch::channel(false);
    let house = rig.house.clone();
    let queue =
        tokio::spawn(run(rig.store.clone(), rig.config.clone(), places, house, Some(courier), Metrics::new(), stopped));
    let began = Instant::now();
    let senders = || -> Vec<String> { log.lock().iter().filter_map(|one| one.sender.clone()).collect() };
    let all = ["anna", "anna-0", "anna-1"];
    while !all.iter().all(|name| senders().iter().any(|sender| sender == name)) {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", senders());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.send(true).unwrap();
    queue.await.unwrap();
}
