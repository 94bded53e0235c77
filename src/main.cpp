#include "commands/dispatch.h"

int main(int count, char** words) { return recite::run_program({words + 1, words + count}); }
