//! The entrance: how many come in, how deep they go, and who leaves when the house is full.

use super::{
    Door, EndpointOptions,
    connection::{House, attend},
    guests::Guests,
};
use crate::{
    broker::Broker,
    clock::Clock,
    sys::{
        accept::{self, Attend, Depth},
        closing::Closing,
    },
};
use std::{future::Future, sync::Arc};
use tokio::{net::UnixStream, runtime::Handle, sync::Semaphore};

/// What a socket leads to.
pub type Entrance = accept::Entrance<House>;

/// An entrance whose connections are spread over these loops by the kernel.
pub fn entrance(door: Door, broker: Broker, clock: Clock, options: EndpointOptions, loops: Vec<Handle>) -> Entrance {
    let (turned_away, guests) = (Arc::new(Semaphore::new(options.busy_answers)), Guests::default());
    Entrance::new(House { broker, door, options, clock, guests, turned_away }, options.connections, loops)
}

impl accept::House for House {
    fn name(&self) -> &'static str {
        self.door.name()
    }

    fn depth(&self) -> Depth {
        match self.door {
            Door::Broker => Depth::Shallow,
            // Keys come in here, and are tried at their provider.
            Door::Control(_) => Depth::Full,
        }
    }

    /// Whoever says nothing makes room for whoever waits at the door.
    fn crowded(&self) {
        self.guests.dismiss_the_most_silent();
    }
}

impl Attend<UnixStream> for House {
    fn attend(
        self: Arc<Self>,
        stream: UnixStream,
        closing: Closing,
    ) -> impl Future<Output = Option<UnixStream>> + Send {
        attend(self, stream, closing)
    }
}
