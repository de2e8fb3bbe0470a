// The sample's library.
const char *greeting(void) { return "hello, with " STORE "/etc/hello.conf"; }
