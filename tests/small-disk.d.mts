export function limitDisk(root: string, capacity: number): void;
