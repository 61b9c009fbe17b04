// Shows the events of the clock's stream; the browser reconnects by itself and says where it was.
const clock = document.getElementById("clock");
const count = document.getElementById("count");
const time = document.getElementById("time");
const state = document.getElementById("state");
const toggle = document.getElementById("toggle");
let source = null;

function open() {
  source = new EventSource(clock.dataset.stream);
  source.onopen = () => { state.textContent = "open"; };
  source.onerror = () => { state.textContent = "lost, trying again"; };
  source.onmessage = (event) => {
    const tick = JSON.parse(event.data);
    count.textContent = tick.count;
    time.dateTime = tick.time;
    time.textContent = new Date(tick.time).toLocaleTimeString();
  };
  toggle.textContent = "Stop";
}

function close() {
  source.close();
  source = null;
  state.textContent = "closed";
  toggle.textContent = "Start";
}

toggle.addEventListener("click", () => (source ? close() : open()));
open();
