// The sample's program.
int puts(const char *);
const char *greeting(void);
const char *prefix = STORE;
int main(void) { return puts(greeting()) < 0 || puts(prefix) < 0; }
