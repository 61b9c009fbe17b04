// Talks in the chat room over a WebSocket, and opens another one whenever it is lost.
const chat = document.getElementById("chat");
const state = document.getElementById("state");
const log = document.getElementById("log");
const messages = document.getElementById("messages");
const form = document.getElementById("form");
const error = document.getElementById("error");

const FIRST_DELAY = 250; // milliseconds; each try that fails doubles it
const LONGEST_DELAY = 10000;
const MOST_MESSAGES = 200;

const address = new URL(chat.dataset.socket, location.href);
address.protocol = address.protocol.replace("http", "ws");
let socket = null;
let delay = FIRST_DELAY;

function connect() {
  socket = new WebSocket(address);
  socket.onopen = () => {
    state.textContent = "open";
    delay = FIRST_DELAY;
  };
  socket.onmessage = (event) => {
    const data = JSON.parse(event.data);
    if (data.errors) showErrors(data.errors);
    else showMessage(data);
  };
  socket.onclose = (event) => {
    // How it was lost, not how each try after that fails.
    if (delay === FIRST_DELAY) state.textContent = `lost (code ${event.code}), trying again`;
    // At random, or all windows would come back in the same moment.
    setTimeout(connect, delay * (0.5 + Math.random() / 2));
    delay = Math.min(2 * delay, LONGEST_DELAY);
  };
}

// What others wrote is text and never HTML.
function showMessage({ name, text, time }) {
  const item = messages.appendChild(document.createElement("li"));
  item.innerHTML = "<strong></strong> <time></time><p></p>";
  item.querySelector("strong").textContent = name;
  item.querySelector("p").textContent = text;
  const clock = item.querySelector("time");
  clock.dateTime = time;
  clock.textContent = new Date(time).toLocaleTimeString();
  if (messages.children.length > MOST_MESSAGES) messages.firstElementChild.remove();
  log.scrollTop = log.scrollHeight;
}

function showErrors(errors) {
  error.textContent = Object.values(errors).flat().map(({ message }) => message).join(" ");
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) {
    error.textContent = "There is no connection. Send it again when there is one.";
    return;
  }
  const { name, text } = form.elements;
  socket.send(JSON.stringify({ name: name.value, text: text.value }));
  error.textContent = "";
  text.value = "";
  text.focus();
});

connect();
