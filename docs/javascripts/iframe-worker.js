// Browsers start no web workers for pages of files (file://). There the search runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #scope;
    #waiting = [];

    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      const scope = frame.contentWindow;
      scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = scope.document.createElement("script");
      script.src = url;
      script.onload = () => {
        this.#scope = scope;
        this.#waiting.splice(0).forEach((data) => this.postMessage(data));
      };
      scope.document.body.appendChild(script);
    }

    postMessage(data) {
      if (this.#scope) this.#scope.dispatchEvent(new this.#scope.MessageEvent("message", { data }));
      else this.#waiting.push(data);
    }
  };
}
