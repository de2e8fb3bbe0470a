// A program that mentions a store path: once, in __TEXT,__cstring.
int puts(const char *);
const char *w = STORE "/etc";
int main(void) { return puts(w); }
