// A libnvrtc for machines without CUDA: compiles a kernel's text by g++, over the emulator.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>

struct Program {
  std::string source, image, log;
};

static std::string read(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The name of the one kernel: what follows the last mark at the start of a line.
static std::string entry_of(const std::string &source) {
  const size_t mark = source.rfind("\nNNC_KERNEL(");
  const size_t name = source.find(") ", mark) + 2;
  return source.substr(name, source.find('(', name) - name);
}

#define API extern "C" __attribute__((visibility("default"))) int

API nvrtcVersion(int *major, int *minor) { return *major = 13, *minor = 0, 0; }
API nvrtcCreateProgram(Program **program, const char *source, const char *, int, const char *const *,
                       const char *const *) {
  return *program = new Program{source, "", ""}, 0;
}
API nvrtcDestroyProgram(Program **program) { return delete *program, *program = nullptr, 0; }
API nvrtcCompileProgram(Program *program, int, const char *const *) {
  char folder[] = "/tmp/nnc-emulated-XXXXXX";
  if (!mkdtemp(folder)) return 1;
  const std::string base = folder, input = base + "/kernel.cc", output = base + "/kernel.so", log = base + "/log";
  std::ofstream(input) << program->source << "\nNNC_LAUNCH(" << entry_of(program->source) << ")\n";
  const std::string command =
      "g++ -std=c++17 -O1 -shared -fPIC -DNNC_EMULATE -ffp-contract=off -Wno-unknown-pragmas -I" EMULATOR " " + input +
      " -o " + output + " 2>" + log;
  const int result = system(command.c_str());
  program->log = read(log);
  const std::string library = read(output);
  const unsigned long long len = library.size();
  program->image = "emulated" + std::string((const char *)&len, 8) + library;
  for (const std::string &file : {input, output, log}) unlink(file.c_str());
  rmdir(folder);
  return result == 0 ? 0 : 6;
}
API nvrtcGetCUBINSize(Program *program, size_t *size) { return *size = program->image.size(), 0; }
API nvrtcGetCUBIN(Program *program, char *image) {
  return memcpy(image, program->image.data(), program->image.size()), 0;
}
API nvrtcGetProgramLogSize(Program *program, size_t *size) { return *size = program->log.size() + 1, 0; }
API nvrtcGetProgramLog(Program *program, char *log) {
  return memcpy(log, program->log.c_str(), program->log.size() + 1), 0;
}
