/*
 * A library that is preloaded into nix-store and lets one process restore many
 * archives: nine tenths of the time of a nix-store process go into its dynamic
 * linking, which is over when main begins.
 *
 *   cc -shared -fPIC -o restore-server.so restore-server.c
 *   LD_PRELOAD=./restore-server.so nix-store
 *
 * For each pair of lines on stdin, the path of an archive and the path to restore
 * it to, a child runs nix-store's own main; its messages go to the archive's path
 * with ".err" added, and its exit status, or minus the signal, to stdout as a line.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef int (*main_t)(int, char **, char **);

static main_t nix_main;

static int line(char *buf, int size) {
	if (fgets(buf, size, stdin) == NULL)
		return 0;
	buf[strcspn(buf, "\n")] = 0;
	return 1;
}

static void restore(const char *in, char *out, char **env) {
	char err[4096 + 8];
	snprintf(err, sizeof err, "%s.err", in);
	int stdin_fd = open(in, O_RDONLY), err_fd = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (stdin_fd < 0 || err_fd < 0)
		_exit(99);
	dup2(stdin_fd, 0);
	dup2(err_fd, 1);
	dup2(err_fd, 2);
	close(stdin_fd);
	close(err_fd);
	alarm(60);
	char *argv[] = {"nix-store", "--restore", out, NULL};
	exit(nix_main(3, argv, env));
}

static int serve(int argc, char **argv, char **env) {
	static char in[4096], out[4096];
	(void)argc;
	(void)argv;
	setvbuf(stdin, NULL, _IONBF, 0); /* nothing is read ahead that a child would inherit */
	while (line(in, sizeof in) && line(out, sizeof out)) {
		pid_t pid = fork();
		if (pid < 0)
			return 98;
		if (pid == 0)
			restore(in, out, env);
		int status;
		if (waitpid(pid, &status, 0) != pid)
			return 97;
		printf("%d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
		fflush(stdout);
	}
	return 0;
}

int __libc_start_main(main_t main, int argc, char **argv, void (*init)(void), void (*fini)(void), void (*rtld_fini)(void), void *stack_end) {
	int (*start)(main_t, int, char **, void (*)(void), void (*)(void), void (*)(void), void *) = dlsym(RTLD_NEXT, "__libc_start_main");
	nix_main = main;
	return start(serve, argc, argv, init, fini, rtld_fini, stack_end);
}
