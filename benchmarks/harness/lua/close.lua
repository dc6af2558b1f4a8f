require("report")
wrk.headers["Connection"] = "close"
